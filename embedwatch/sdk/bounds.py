"""Labels of time series, bounded: a database of series dies of a label that takes a new value with every request."""

from __future__ import annotations

from dataclasses import dataclass, field

from embedwatch.sdk.call import Call

OTHER = "other"
MAX_LABEL_CHARS = 128


@dataclass(slots=True)
class Bounds:
    """Names that come first have series of their own; those above a limit share one, called `other`.

    `max_sets` is the limit of all combinations: above it a call is `other` in everything.
    """

    max_models: int = 50
    max_providers: int = 20
    max_tenants: int = 100
    max_sets: int = 1000
    _seen: dict[str, set[str]] = field(default_factory=dict)
    _sets: set[tuple[str, str, str]] = field(default_factory=set)

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
