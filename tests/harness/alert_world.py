"""Alerting without Kafka, threads and waiting: engine, pace and a store in memory, in a clock moved by the test."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from alerting.calm import Calm
from alerting.digest_books import decode as decode_books
from alerting.digest_books import encode as encode_books
from alerting.digest_time import Schedule
from alerting.engine import Engine
from alerting.lifecycle import Heard
from alerting.parcels import Job, Parcel, Result, SendFailed, Traits
from alerting.policy import Policy
from alerting.sending import Pace
from alerting.states import AlertState, Ref, decode, encode
from tests.harness.verdicts import verdict

START_SECONDS = 1_000_000.0

#: Seconds since the start and the parcel; gives back where the message is now, or raises `SendFailed`.
Script = Callable[[float, Parcel], Ref | None]


class FakeReceiver:
    """Keeps what it took, with the second. Each attempt takes `seconds`."""

    def __init__(
        self, name: str = "slack", script: Script | None = None, traits: Traits | None = None, seconds: float = 0.0
    ) -> None:
        self.name, self.seconds = name, seconds
        self.traits = traits or Traits(edits=True)
        self.taken: list[tuple[float, Parcel]] = []
        self.news: list[tuple[str, str]] = []  # alert and kind: all that each of `taken` said
        self.attempts = 0
        self._script = script

    def take(self, at: float, parcel: Parcel) -> Ref | None:
        self.attempts += 1
        ref: Ref | None = None
        if self._script is not None:
            ref = self._script(at, parcel)
        elif self.traits.edits:
            ref = parcel.ref or Ref("C1", str(len(self.taken) + 1))
        self.taken.append((at, parcel))
        return ref

    def told(self, name: str) -> list[str]:
        """What it was told of one alert, in order."""
        return [kind for alert, kind in self.news if alert == alert_id(name)]


class World:
    """One process of alerting. Verdicts it has read are committed when all states are stored, as in the service.

    `hear`, `save`, `begin` and `finish` are the steps of a message's way, for crashes between them; `cycle` is all.
    """

    def __init__(
        self,
        policy: Policy,
        receivers: Sequence[FakeReceiver],
        seed: int = 1,
        calm: Calm | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self.policy, self.receivers = policy, {each.name: each for each in receivers}
        self.calm, self.schedule = calm, schedule
        self.second = 0.0
        self.stored: dict[str, bytes] = {}
        self.stored_books: dict[str, bytes] = {}
        self.sending: dict[str, tuple[float, Job]] = {}  # by receiver, with the second at which the answer comes
        self._verdicts: list[Heard] = []
        self._committed = 0
        self._rng = random.Random(seed)
        self._start()

    def _start(self) -> None:
        traits = {name: each.traits for name, each in self.receivers.items()}
        self.engine = Engine(self.policy, traits, calm=self.calm, schedule=self.schedule)
        self._paces = {name: Pace() for name in self.receivers}
        self._listening_since = self.now
        states = {key: decode(value) for key, value in self.stored.items()}
        books = [decode_books(value) for value in self.stored_books.values()]
        self.engine.load(states, frozenset({0}), books, self.now)
        self.engine.recall(self.now, self.second)
        for heard in self._verdicts[self._committed :]:
            self.engine.hear(heard, self.now, self.second)

    @property
    def now(self) -> float:
        return START_SECONDS + self.second

    def state(self, name: str) -> AlertState | None:
        return self.engine.states.get(alert_id(name))

    def hear(self, judgement: Any, name: str, **fields: Any) -> None:
        said = verdict(judgement, self.now, **{"alert_id": alert_id(name), **fields})
        heard = Heard(said, 0, len(self._verdicts))
        self._verdicts.append(heard)
        self.engine.hear(heard, self.now, self.second)

    def breach(self, names: Iterable[str], **fields: Any) -> None:
        for name in names:
            self.hear("breached", name, **fields)

    def clear(self, names: Iterable[str], **fields: Any) -> None:
        for name in names:
            self.hear("ok", name, **fields)

    def save_books(self) -> None:
        for key, books in self.engine.unsaved_books().items():
            if books is None:
                self.stored_books.pop(key, None)
            else:
                self.stored_books[key] = encode_books(books)

    def save(self) -> None:
        self.save_books()
        for key, state in self.engine.unsaved().items():
            if state is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = encode(state)
        self.engine.saved(self.second)
        self._committed = len(self._verdicts)

    def begin(self, receiver: str) -> Job | None:
        """The next message sets out, if one may."""
        if receiver in self.sending or self.second < self._paces[receiver].not_before:
            return None
        job = self.engine.next_job(receiver, self.second)
        if job is not None:
            self.sending[receiver] = (self.second + self.receivers[receiver].seconds, job)
        return job

    def arrive(self, receiver: str) -> Result:
        """The receiver has it, or not; its answer is on the way."""
        _, job = self.sending.pop(receiver)
        try:
            result = Result(job, self.receivers[receiver].take(self.second, job.parcel), None)
        except SendFailed as failure:
            return Result(job, None, failure)
        self.receivers[receiver].news += self._news(job)
        return result

    def _news(self, job: Job) -> list[tuple[str, str]]:
        numbers = dict(job.entries)
        states = [self.engine.states[alert] for alert in numbers if alert in self.engine.states]
        return [(s.alert_id, owed.kind) for s in states for owed in s.owed if owed.number == numbers[s.alert_id]]

    def finish(self, receiver: str) -> None:
        result = self.arrive(receiver)
        pace, wait = self._paces[receiver], None
        if result.failure is None:
            pace.succeeded()
        else:
            wait = pace.failed(result.failure, self.second, self._rng.random())
        self.engine.settle(result, self.second, wait)

    def cycle(self) -> None:
        self.engine.tick(self.now, self.second, self._listening_since)
        self.save()
        if self.engine.close_books(self.now, self.second):
            self.save()
        for name in self.receivers:
            while self.begin(name) is not None or name in self.sending:
                answer_second, _ = self.sending[name]
                if answer_second > self.second:
                    break
                self.finish(name)
                self.save()

    def advance(self, seconds: float, step: float = 0.5) -> None:
        end = self.second + seconds
        while self.second < end:
            self.second = min(end, self.second + step)
            self.cycle()

    def crash(self) -> None:
        """kill -9, and a new process: what was not stored is gone, what was being sent is answered to nobody."""
        self.sending.clear()
        self._start()


def alert_id(name: str) -> str:
    return f"latency|{name}"
