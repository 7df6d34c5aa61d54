"""What goes wrong, in which order, and what came of it. Pure: a seed and what is possible in, a plan out.

A plan is a list of steps; the faults of a step happen at the same time. `tests/chaos/world.py` carries them out.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

#: kill: kill -9, and started again. freeze: SIGSTOP, then SIGCONT. restart: SIGTERM, and started again when it has
#: ended. slow, silent, cut: of its connections, as `tests.harness.proxy` has it. leader: every partition is led by
#: another broker. disk-full: what its state lies on has no byte left; agents keep none there, and have to start on such
#: a disk all the same. clock: its wall clock jumps, and jumps back.
Kind = Literal["kill", "freeze", "restart", "slow", "silent", "cut", "leader", "disk-full", "clock"]
Victim = Literal["producer", "worker", "agents", "alerting", "autoscaler", "redis", "broker"]

STAGES: tuple[Victim, ...] = ("producer", "worker", "agents", "alerting", "autoscaler")
PROCESSES: tuple[Victim, ...] = (*STAGES, "redis", "broker")
#: What happens where the broker cannot lose its data: in a cluster. `disk-full` takes disks that root has to mount.
ON_A_CLUSTER: tuple[tuple[Kind, Victim], ...] = (
    *((kind, victim) for kind in ("kill", "freeze", "restart") for victim in PROCESSES),
    *((kind, victim) for kind in ("slow", "silent", "cut") for victim in PROCESSES),
    ("leader", "broker"),
    ("disk-full", "broker"),
    ("disk-full", "agents"),
    *(("clock", victim) for victim in STAGES),
)  # type: ignore[assignment]
#: The embedded broker keeps nothing over a restart, and advertises one address only.
ON_THE_EMBEDDED_BROKER: tuple[tuple[Kind, Victim], ...] = (
    *((kind, victim) for kind in ("kill", "freeze", "restart") for victim in PROCESSES if victim != "broker"),
    ("freeze", "broker"),
    *((kind, "redis") for kind in ("slow", "silent", "cut")),
    *(("clock", victim) for victim in STAGES),
)  # type: ignore[assignment]

#: How long a fault lasts, in seconds. A frozen process sleeps past the session of 6 s half of the time.
_LASTS: dict[Kind, tuple[float, float]] = {
    "kill": (0.0, 2.0),
    "freeze": (1.0, 11.0),
    "restart": (0.0, 0.0),
    "slow": (3.0, 8.0),
    "silent": (2.0, 9.0),
    "cut": (1.0, 8.0),
    "leader": (0.0, 0.0),
    "disk-full": (3.0, 6.0),
    "clock": (2.0, 6.0),
}
#: A wall clock jumps by up to so much, either way.
JUMP_SECONDS = 900.0
#: How often a step has one, two and three faults.
_AT_ONCE = (4, 4, 2)


@dataclass(frozen=True, slots=True)
class Fault:
    """`which` tells one of several apart: of brokers, of workers. `jump_seconds` is of clocks alone."""

    number: int
    kind: Kind
    victim: Victim
    lasts_seconds: float
    which: int
    jump_seconds: float = 0.0

    def __str__(self) -> str:
        jump = f" by {self.jump_seconds:+.0f} s" if self.jump_seconds else ""
        return f"{self.number}: {self.kind} {self.victim}[{self.which}]{jump} for {self.lasts_seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class Step:
    """Faults that begin together, after so many seconds of nothing."""

    pause_seconds: float
    faults: tuple[Fault, ...]


def plan(seed: int, faults: int, possible: Sequence[tuple[Kind, Victim]]) -> list[Step]:
    """So many faults. Each pair of kind and victim comes equally often, give or take one; two of a step never have the
    same victim."""
    random = Random(seed)
    wanted: list[tuple[Kind, Victim]] = []
    while len(wanted) < faults:
        wanted += random.sample(possible, len(possible))
    waiting = wanted[:faults]
    steps: list[Step] = []
    number = 0
    while waiting:
        (most,) = random.choices((1, 2, 3), _AT_ONCE)
        chosen: list[tuple[Kind, Victim]] = []
        for pair in list(waiting):
            if len(chosen) < most and all(pair[1] != victim for _, victim in chosen):
                chosen.append(pair)
                waiting.remove(pair)
        made = []
        for kind, victim in chosen:
            jump = random.choice((-1, 1)) * random.uniform(30.0, JUMP_SECONDS) if kind == "clock" else 0.0
            made.append(Fault(number, kind, victim, random.uniform(*_LASTS[kind]), random.randrange(6), jump))
            number += 1
        steps.append(Step(random.uniform(0.0, 2.0), tuple(made)))
    return steps


@dataclass(slots=True)
class Outcome:
    """What came of one fault. `recovery_seconds`: from its end until texts that were sent while it lasted and after it
    are embedded and counted, the alert about what they cost is in Slack, and the victim does its own work again (a
    producer's new lines are counted, the autoscaler's worker beats, Redis is asked). It holds what went wrong beside
    it, too."""

    fault: Fault
    recovery_seconds: float
    lost: int = 0
    doubled: int = 0
    alerts_lost: int = 0
    alerts_doubled: int = 0


@dataclass(slots=True)
class Run:
    """One run of a plan, and what the checks of everything found: all zero, or the run has failed."""

    on: str
    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    texts: int = 0
    vectors: int = 0
    sent: int = 0  # lines of their files that producers say have arrived
    not_sent: int = 0  # of those, what is not on the topic
    sent_again: int = 0  # what is there once more, since a producer that was killed did not know
    wrong_vectors: int = 0
    lost: int = 0
    doubled: int = 0
    difference_nano_usd: int = 0
    alerts: int = 0
    alerts_lost: int = 0
    alerts_doubled: int = 0
    checks: int = 0
    ended_alone: int = 0  # processes that gave up and were started again, as a service manager does
    seconds: float = 0.0


#: Heading of each column.
COLUMNS = ("on", "fault", "victim", "faults", "lost", "doubled", "alerts lost", "doubled", "median s", "worst s")


def rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """One row for each broker, kind and victim, in the order of their names."""
    found: dict[tuple[str, str, str], list[Outcome]] = {}
    for run in runs:
        for outcome in run.outcomes:
            found.setdefault((run.on, outcome.fault.kind, outcome.fault.victim), []).append(outcome)
    return [
        {
            "on": on,
            "kind": kind,
            "victim": victim,
            "faults": len(outcomes),
            "lost": sum(each.lost for each in outcomes),
            "doubled": sum(each.doubled for each in outcomes),
            "alerts_lost": sum(each.alerts_lost for each in outcomes),
            "alerts_doubled": sum(each.alerts_doubled for each in outcomes),
            "median_recovery_seconds": round(statistics.median(each.recovery_seconds for each in outcomes), 1),
            "worst_recovery_seconds": round(max(each.recovery_seconds for each in outcomes), 1),
        }
        for (on, kind, victim), outcomes in sorted(found.items())
    ]


def table(runs: Sequence[Run]) -> list[str]:
    """Lines for people: a row for each pair, then what the checks of everything found in each run."""
    cells = [COLUMNS, *(tuple(map(str, row.values())) for row in rows(runs))]
    widths = [max(len(row[place]) for row in cells) for place in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return lines + [
        f"{run.on}, seed {run.seed}: {len(run.outcomes)} faults in {run.seconds:.0f} s; "
        f"{run.sent:,} texts of producers, {run.not_sent} of them not on the topic, "
        f"{run.sent_again} sent again after a kill; {run.texts:,} texts, "
        f"{run.vectors:,} vectors, {run.wrong_vectors} of them wrong, {run.lost} lost, {run.doubled} doubled, "
        f"{run.difference_nano_usd} nano-USD of difference; "
        f"{run.alerts} alerts, {run.alerts_lost} lost, {run.alerts_doubled} doubled; "
        f"{run.checks} checks of everything, {run.ended_alone} processes that gave up and were started again"
        for run in runs
    ]


def document(runs: Sequence[Run]) -> dict[str, Any]:
    """The same for programs."""
    names = (
        "on", "seed", "sent", "not_sent", "sent_again", "texts", "vectors", "wrong_vectors", "lost", "doubled",
        "difference_nano_usd", "alerts", "alerts_lost", "alerts_doubled", "checks", "ended_alone",
    )  # fmt: skip
    return {
        "faults": sum(len(run.outcomes) for run in runs),
        "worst_recovery_seconds": max(
            (round(each.recovery_seconds, 1) for run in runs for each in run.outcomes), default=None
        ),
        "runs": [
            {name: getattr(run, name) for name in names} | {"faults": len(run.outcomes), "seconds": round(run.seconds)}
            for run in runs
        ],
        "rows": rows(runs),
    }
