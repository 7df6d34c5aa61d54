"""Who is told of an alert and who is mentioned: the first route that fits, or more where it says `continue`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from embedwatch.events import Verdict


@dataclass(frozen=True, slots=True)
class Route:
    """`match` maps a label to shell patterns of which one must fit; {}: every alert.

    `to` are receivers; None: those that are told where no route says otherwise. `mention` is Slack's markup. With
    `goes_on` the routes that follow are asked too.
    """

    match: Mapping[str, tuple[str, ...]]
    to: tuple[str, ...] | None = None
    mention: tuple[str, ...] = ()
    goes_on: bool = False

    def fits(self, found: Mapping[str, str]) -> bool:
        return all(
            any(fnmatchcase(found.get(label, ""), pattern) for pattern in patterns)
            for label, patterns in self.match.items()
        )


class Router:
    """`default` is told where no route matches; `always` is told in any case."""

    def __init__(self, routes: Sequence[Route], default: Collection[str], always: Collection[str] = ()) -> None:
        self._routes, self._default, self._always = tuple(routes), tuple(default), tuple(always)

    def receivers(self, verdict: Verdict) -> tuple[str, ...]:
        """Names, each once."""
        chosen = self._chosen(verdict)
        to = [name for route in chosen for name in self._to(route)] if chosen else list(self._default)
        return tuple(dict.fromkeys((*to, *self._always)))

    def mentions(self, verdict: Verdict, receiver: str) -> tuple[str, ...]:
        """Whom this receiver's message mentions."""
        found = (name for route in self._chosen(verdict) if receiver in self._to(route) for name in route.mention)
        return tuple(dict.fromkeys(found))

    def _to(self, route: Route) -> tuple[str, ...]:
        return self._default if route.to is None else route.to

    def _chosen(self, verdict: Verdict) -> list[Route]:
        found, chosen = labels(verdict), []
        for route in self._routes:
            if route.fits(found):
                chosen.append(route)
                if not route.goes_on:
                    break
        return chosen


def labels(verdict: Verdict) -> dict[str, str]:
    """What routes match on. A label that an alert does not have is empty."""
    return {
        "severity": verdict.severity,
        "alert_type": verdict.alert_type,
        "rule": verdict.rule,
        "route": verdict.route or "",
        **{name: verdict.scope.get(name, "") for name in ("model", "tenant", "worker")},
    }
