"""What a Prometheus family is: its name, unit and labels, what it says, and what to do when it is bad. Pure.

Whoever exposes families declares them in a module-level `FAMILIES`: `stream_agents.web.families` does, and any module
of `embedwatch.sdk` may. `make reference` writes docs/reference/metrics.md from these tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["gauge", "counter", "histogram", "summary"]
#: Of several processes that expose it: each says the same of the whole (take the largest), or each says its own part.
Several = Literal["same", "sum", "own"]
SEVERAL: dict[Several, str] = {"same": "`max`", "sum": "`sum`", "own": "by process"}


@dataclass(frozen=True, slots=True)
class Family:
    """`name` is that of the family; a counter's series is called `name_total`. `by`: the same once more for each model
    or tenant, with its name in front and a label of it. Units are base units: seconds, USD, ratios from 0 to 1."""

    name: str
    kind: Kind
    unit: str
    text: str
    bad: str
    labels: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    several: Several = "same"
    prefix: str = "embedwatch_"
    group: str = ""

    @property
    def full_name(self) -> str:
        return self.prefix + self.name

    @property
    def series(self) -> tuple[str, ...]:
        """Names that a query asks for."""
        if self.kind == "counter":
            return (f"{self.full_name}_total",)
        if self.kind == "histogram":
            return tuple(f"{self.full_name}_{part}" for part in ("bucket", "count", "sum"))
        if self.kind == "summary" and "quantile" not in self.labels:
            return (f"{self.full_name}_count", f"{self.full_name}_sum")
        return (self.full_name,)

    def of(self, dimension: str) -> Family:
        """The same by model or tenant."""
        if dimension not in self.by:
            raise KeyError(f"{self.full_name} has no series by {dimension}")
        return replace(self, name=f"{dimension}_{self.name}", labels=(dimension, *self.labels), by=())


def every(families: Iterable[Family]) -> Iterator[Family]:
    """Each family, and after it those by model and tenant."""
    for family in families:
        yield family
        yield from map(family.of, family.by)
