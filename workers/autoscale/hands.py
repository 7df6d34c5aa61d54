"""Starts and stops worker processes to meet what the agents ask for: the edge between the helm and a crew."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import get_args

from embedwatch.clock import Clock, SystemClock
from workers.autoscale import asking, wish
from workers.autoscale.only_one import Others
from workers.autoscale.own_metrics import Report
from workers.autoscale.reporting import Reporter
from workers.autoscale.steering import Bounds, Decision, Helm, Moves, Place, State, moves
from workers.autoscale.wish import Hold, Wish
from workers.crew import CLOSE_MARGIN_SECONDS, Crew, Member
from workers.restarts import GOOD_LIFE_SECONDS

log = logging.getLogger(__name__)

#: How long a place stays empty after a crash loop of its worker.
REST_SECONDS = 1800.0
#: So many places that gave up while nobody else works well: what is wrong is not a matter of the place.
ALL_LOOP = 3
#: After the asking process was given up.
ASK_AGAIN_SECONDS = 60.0
#: An answer is old after so many intervals without another, but not before `OLD_SECONDS`.
OLD_INTERVALS = 3
OLD_SECONDS = 30.0

Tell = Callable[[Decision, Moves], None]


class Ear:
    """What the asking process said last, and when."""

    def __init__(self, *, group: str, topic: str, interval_seconds: float, clock: Clock) -> None:
        self._group = group
        self._topic = topic
        self._old_seconds = max(OLD_INTERVALS * interval_seconds, OLD_SECONDS)
        self._clock = clock
        self._heard: Wish | Hold = Hold("none yet", "the agents have not answered yet")
        self._heard_at = clock.monotonic()
        self._answered_at: float | None = None

    def hear(self, line: bytes) -> None:
        """One line of `workers.autoscale.asking`."""
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        match said:
            case {"answer": dict(answer)}:
                self._heard = wish.read(
                    answer, now=self._clock.now(), old_seconds=self._old_seconds, group=self._group, topic=self._topic
                )
                self._answered_at = self._clock.monotonic()
            case {"trouble": str(trouble)}:
                self._heard = Hold("no answer", trouble)
            case _:
                # A stack trace, most likely: whoever reads the log needs it.
                log.warning("%s: %s", asking.NAME, line.decode(errors="replace"))
                return
        self._heard_at = self._clock.monotonic()

    @property
    def answer_seconds_ago(self) -> float | None:
        """Since the agents last answered, whatever they said; None before they did."""
        return None if self._answered_at is None else self._clock.monotonic() - self._answered_at

    def heard(self) -> Wish | Hold:
        """What holds now. An answer without a successor is one of the past."""
        silence = self._clock.monotonic() - self._heard_at
        if silence > self._old_seconds and not (isinstance(self._heard, Hold) and self._heard.kind == "no answer"):
            return Hold("silent", f"no answer of the agents for {silence:.0f} s")
        return self._heard


class Hands:
    """Call it after every step of the crew; it waits for nothing.

    `tell` gets each decision that is news. A worker that ended by itself is the crew's matter until it gives up: then
    its place rests, and another is taken. When nobody works well any more, the crew is stopped with the last code.
    """

    def __init__(
        self, workers: Sequence[Member], asker: Member, bounds: Bounds, ear: Ear, *, drain_seconds: float, tell: Tell,
        clock: Clock | None = None, reporter: Reporter | None = None,
    ) -> None:  # fmt: skip
        self._reporter = reporter
        self._reports = False
        self._decisions = self._stops = 0
        self._asker = asker
        self._members = {member.name: member for member in workers}
        self._helm = Helm(bounds)
        self._ear = ear
        self._limit_seconds = drain_seconds + CLOSE_MARGIN_SECONDS
        self._tell = tell
        self._clock = clock or SystemClock()
        self._rests_until: dict[str, float] = {}
        self._started: dict[str, int] = {}
        self._starts = 0
        self._missing = 0
        self._asks_from = -math.inf
        self._others = Others()

    def __call__(self, crew: Crew) -> None:
        self._see_who_gave_up(crew)
        if crew.stopping:
            return
        self._have_somebody_ask(crew)
        heard = self._ear.heard()
        self._say_who_else_works(crew, heard)
        decision = self._helm.turn(heard)
        todo = moves(self._helm.target, self.places(crew), self._helm.bounds)
        if not decision.told:
            self._decisions += 1
            self._tell(decision, todo)
        for name in todo.stop:
            self._stops += 1
            crew.remove(name, limit_seconds=self._limit_seconds)
        for name in todo.start:
            self._starts += 1
            self._started[name] = self._starts
            crew.add(self._members[name])
        self._say_what_is_missing(decision, todo)
        self._report(crew, heard)

    def places(self, crew: Crew) -> list[Place]:
        """How every place stands."""
        states: dict[str, State] = dict.fromkeys(self._rests_until, "resting")
        for member in crew.standing():
            states[member.name] = "leaving" if member.leaving else "up" if member.running else "waiting"
        return [Place(name, states.get(name, "free"), self._started.get(name, 0)) for name in self._members]

    def _see_who_gave_up(self, crew: Crew) -> None:
        now = self._clock.monotonic()
        self._rests_until = {name: until for name, until in self._rests_until.items() if until > now}
        while crew.gave_up:
            name, verdict = crew.gave_up.popitem()
            if self._reporter is not None and name == self._reporter.member.name:
                continue  # it has said why; the workers are looked after all the same
            if name == self._asker.name:
                log.error("nobody asks the agents for %g s; what there is stays", ASK_AGAIN_SECONDS)
                self._asks_from = now + ASK_AGAIN_SECONDS
                continue
            self._rests_until[name] = now + REST_SECONDS
            well = [
                member.name for member in crew.standing()
                if member.name in self._members and not member.leaving and member.seconds >= GOOD_LIFE_SECONDS
            ]  # fmt: skip
            if not well and len(self._rests_until) >= min(ALL_LOOP, len(self._members)):
                log.error("no worker keeps running, %d were given up: all are stopped", len(self._rests_until))
                crew.ask_to_stop(verdict.exit_code or 1)
                return
            log.warning("the place of %s stays empty for %g min; the others work on", name, REST_SECONDS / 60)

    def _have_somebody_ask(self, crew: Crew) -> None:
        asks = any(member.name == self._asker.name for member in crew.standing())
        if not asks and self._clock.monotonic() >= self._asks_from:
            crew.add(self._asker)

    def _report(self, crew: Crew, heard: Wish | Hold) -> None:
        """For whoever asks how this command is, once a second."""
        now = self._clock.monotonic()
        if self._reporter is None or not self._reporter.due(now):
            return
        states = Counter(dict.fromkeys(get_args(State), 0))
        states.update(place.state for place in self.places(crew))
        wish, hold = (heard, None) if isinstance(heard, Wish) else (None, heard)
        report = Report(
            target_workers=self._helm.target, places=dict(states), wanted_workers=wish.desired if wish else None,
            held=hold.kind if hold else None, reason=hold.reason if hold else "",
            answer_seconds_ago=self._ear.answer_seconds_ago, decisions=self._decisions, started=self._starts,
            stopped=self._stops, crashes=crew.crashes, restarts=crew.restarts, given_up=crew.given_up,
        )  # fmt: skip
        self._reporter.write(report, now)
        if not self._reports:  # once there is something to answer; one that was given up is not started again
            self._reports = True
            crew.add(self._reporter.member)

    def _say_who_else_works(self, crew: Crew, heard: Wish | Hold) -> None:
        here = sum(place.state in ("up", "leaving", "waiting") for place in self.places(crew))
        others = self._others.seen(heard.workers if isinstance(heard, Wish) else None, here, self._clock.monotonic())
        if others is not None:
            log.warning(
                "the agents hear of %d more workers than there are here: of another `embedwatch autoscale` or "
                "`embedwatch worker`? Of one group there is one command that decides, else all start what is asked for",
                others,
            )

    def _say_what_is_missing(self, decision: Decision, todo: Moves) -> None:
        """Told when it changes, and not while others still drain: that passes."""
        missing = todo.missing if self._rests_until else 0
        if missing != self._missing:
            self._missing = missing
            if missing:
                log.warning(
                    "%d of %d workers are missing: %s rest after a crash loop",
                    missing, decision.after, ", ".join(sorted(self._rests_until)),
                )  # fmt: skip
