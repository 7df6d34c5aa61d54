"""What a stage says of itself: numbers for Prometheus, whether it lives, whether it is ready. No I/O, no clock.

Each stage has a function from its state and `now` to a `Look`; `embedwatch.stage_endpoint` serves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from embedwatch.metric_families import Family, Kind

#: A broker that was not heard for so long is one that may be lost; the agents' `/readyz` has the same limit.
BROKER_SECONDS = 30.0
ROUTINE = "Nothing by itself."


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of a family, by its name without the prefix; `labels` are values in the order of the family's."""

    name: str
    number: float
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """A stage as it is now. `dead`: why it should be started again; `unready`: why it does not do its work now."""

    samples: Sequence[Sample] = ()
    dead: Sequence[str] = ()
    unready: Sequence[str] = ()


def known(name: str, number: float | None) -> list[Sample]:
    """A number without labels; none where it is not known, for 0 would be a claim."""
    return [] if number is None else [Sample(name, float(number))]


def by_label(name: str, numbers: Mapping[str, float]) -> list[Sample]:
    """One sample a value of the only label."""
    return [Sample(name, float(number), (label,)) for label, number in sorted(numbers.items())]


def broker_trouble(heard_seconds_ago: float | None) -> list[str]:
    """Why the broker cannot be relied on now, from when it was last heard; None: never yet."""
    if heard_seconds_ago is None:
        return ["the broker has not answered yet"]
    if heard_seconds_ago > BROKER_SECONDS:
        return [f"the broker has not answered for {heard_seconds_ago:.0f} s"]
    return []


def stuck(progress_seconds_ago: float, bound_seconds: float) -> list[str]:
    """Why the main loop counts as stuck."""
    if progress_seconds_ago <= bound_seconds:
        return []
    return [f"its main loop has not moved for {progress_seconds_ago:.0f} s; {bound_seconds:.0f} s are allowed"]


def family(prefix: str, group: str, kind: Kind, name: str, unit: str, text: str, bad: str, *labels: str) -> Family:
    """A row of a stage's table. Of several processes each counts its own: counters are added up, the rest is by
    process."""
    return Family(
        name, kind, unit, text, bad, labels, several="sum" if kind == "counter" else "own", prefix=prefix, group=group
    )


def grouped(families: Iterable[Family], samples: Iterable[Sample]) -> list[tuple[Family, list[Sample]]]:
    """Every family in the order of its table, with its samples. Raises `KeyError` for a sample of none, or with other
    labels than its family's: a mistake of ours."""
    found: dict[str, tuple[Family, list[Sample]]] = {each.name: (each, []) for each in families}
    for sample in samples:
        of, held = found[sample.name]
        if len(sample.labels) != len(of.labels):
            raise KeyError(f"{of.full_name} has the labels {of.labels}, not {len(sample.labels)} of them")
        held.append(sample)
    return list(found.values())
