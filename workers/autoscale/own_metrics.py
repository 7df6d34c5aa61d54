"""What `embedwatch autoscale` says of itself at /metrics, /livez and /readyz. No I/O, no clock."""

from __future__ import annotations

from functools import partial

import msgspec

from embedwatch.stage_metrics import ROUTINE, Look, by_label, family, known, stuck

#: It turns ten times a second and waits for nothing.
STUCK_SECONDS = 60.0
#: What is not known for another reason than that the agents do not decide just now.
NOT_ANSWERED = frozenset({"none yet", "no answer", "silent", "foreign", "undated", "old", "nonsense"})

_family = partial(family, "embedwatch_autoscaler_", "Of the autoscaler")
_gauge, _counter = partial(_family, "gauge"), partial(_family, "counter")

FAMILIES = (
    _gauge("ready", "1 or 0", "1 where the agents answer, as its `/readyz` says.",
           "0 for minutes: `/readyz` gives the reasons; what there is stays meanwhile."),
    _gauge("wanted_workers", "workers", "Workers that the agents ask for; absent where they do not say.", ROUTINE),
    _gauge("target_workers", "workers", "Workers there should be here, within `--min`, `--max` and the slots.",
           "Below `wanted_workers`: a limit of this command holds it."),
    _gauge("places", "places", "Places for workers here, by state: free, up, waiting (to start again), leaving, "
           "resting (after a crash loop).", "`resting` above 0: a worker crashes; read its lines in the log.", "state"),
    _gauge("answer_age_seconds", "seconds", "Time since the agents last answered; absent before they did.",
           "Above 30: do they run, and is `--agents-url` right?"),
    _counter("decisions", "decisions", "Decisions that were news.", ROUTINE),
    _counter("started_workers", "workers", "Workers started because there were too few.", ROUTINE),
    _counter("stopped_workers", "workers", "Workers asked to stop because there were too many.",
             "Rises as fast as `started_workers`: raise `scaling.hold_seconds`."),
    _counter("crashes", "processes", "Processes that ended by themselves, that which asks the agents included.",
             "Rises: read the log; a worker says why it ends."),
    _counter("restarts", "processes", "Of these, those that were to be started again.", ROUTINE),
    _counter("given_up", "processes", "Of these, those that were given up for a while: a crash loop, or a cause that "
             "comes again.", "Above 0: read the log."),
)  # fmt: skip


class Report(msgspec.Struct, frozen=True):
    """The command at one moment. None: not known. `held` is the kind of why nothing is decided, `reason` its words."""

    target_workers: int
    places: dict[str, int]
    wanted_workers: int | None = None
    held: str | None = None
    reason: str = ""
    answer_seconds_ago: float | None = None
    decisions: int = 0
    started: int = 0
    stopped: int = 0
    crashes: int = 0
    restarts: int = 0
    given_up: int = 0


def look(report: Report | None, age_seconds: float) -> Look:
    """What is answered, from a report that was written so long ago; None: there is none yet."""
    dead = stuck(age_seconds, STUCK_SECONDS)
    if report is None:
        return Look([*known("ready", 0)], dead, ["it has just begun"])
    unready = [report.reason] if report.held in NOT_ANSWERED else []
    answered = report.answer_seconds_ago
    samples = [
        *known("ready", not unready and not dead),
        *known("wanted_workers", report.wanted_workers),
        *known("target_workers", report.target_workers),
        *by_label("places", report.places),
        *known("answer_age_seconds", None if answered is None else answered + age_seconds),
        *known("decisions", report.decisions),
        *known("started_workers", report.started),
        *known("stopped_workers", report.stopped),
        *known("crashes", report.crashes),
        *known("restarts", report.restarts),
        *known("given_up", report.given_up),
    ]
    return Look(samples, dead, unready)
