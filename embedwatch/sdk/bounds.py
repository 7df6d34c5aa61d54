"""Labels of time series, bounded: a database of series dies of a label that takes a new value with every request."""

from __future__ import annotations

from dataclasses import dataclass, field

from embedwatch.sdk.call import Call

OTHER = "other"
MAX_LABEL_CHARS = 128


@dataclass(slots=True)
class Bounds:
    """Names that come first have series of their own; those above a limit share one, called `other`.

    `max_sets` is the limit of all combinations: above it a call is `other` in everything. Models of answers are bounded
    as those asked for, addresses and ports together by `max_servers`, phases by `max_phases`.
    """

    max_models: int = 50
    max_providers: int = 20
    max_tenants: int = 100
    max_sets: int = 1000
    max_servers: int = 50
    max_phases: int = 50
    _seen: dict[str, set[str]] = field(default_factory=dict)
    _sets: set[tuple[str, str, str]] = field(default_factory=set)
    _answers: set[tuple[str, ...]] = field(default_factory=set)

    def of(self, call: Call) -> tuple[str, str, str]:
        """(model, provider, tenant) of a call; what it does not name is empty."""
        labels = (
            self._bounded("model", call.model, self.max_models),
            self._bounded("provider", call.provider, self.max_providers),
            self._bounded("tenant", call.tenant, self.max_tenants),
        )
        if labels not in self._sets:
            if len(self._sets) >= self.max_sets:
                return (OTHER, OTHER, OTHER)
            self._sets.add(labels)
        return labels

    def of_answer(self, call: Call, labels: tuple[str, str, str]) -> tuple[str, str, int | None]:
        """(model of the answer, address, port) of a call that `of` gave these labels; what it does not name is empty or
        None. Of a server above the limit no port is told."""
        model = self._bounded("response model", call.response_model, self.max_models)
        address, port = call.server_address or "", call.server_port if call.server_address else None
        if address and self._bounded("server", f"{address}:{port}", self.max_servers) == OTHER:
            address, port = OTHER, None
        answer = (*labels[:2], model, address, str(port))
        if answer not in self._answers:
            if len(self._answers) >= self.max_sets:
                return (model and OTHER, address and OTHER, None)
            self._answers.add(answer)
        return (model, address[:MAX_LABEL_CHARS], port)

    def phase(self, name: str) -> str:
        """The name of a phase."""
        return self._bounded("phase", name, self.max_phases)

    def _bounded(self, name: str, value: str | None, limit: int) -> str:
        if not value:
            return ""
        value = value[:MAX_LABEL_CHARS]
        seen = self._seen.setdefault(name, set())
        if value not in seen:
            if len(seen) >= limit:
                return OTHER
            seen.add(value)
        return value
