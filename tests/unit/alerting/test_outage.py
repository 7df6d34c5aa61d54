"""Slack away for ten minutes, then overrun: what mattered arrives, in order, once. In a clock moved by the test."""

from __future__ import annotations

import random

import pytest

from alerting.calm import Calm
from alerting.parcels import Parcel, SendFailed
from alerting.policy import Policy
from alerting.states import Ref
from tests.harness.alert_world import FakeReceiver, World, alert_id

DOWN_SECONDS = (10.0, 610.0)
OVERRUN_UNTIL_SECONDS = 700.0
ALERTS = 30


class Slack:
    """What people see: the present kind of each message. Down, then 429 to most, and answers are lost now and then."""

    def __init__(self, seed: int) -> None:
        self.posts: list[Parcel] = []
        self.shown: list[str] = []
        self._rng = random.Random(seed)

    def __call__(self, at: float, parcel: Parcel) -> Ref | None:
        begin, end = DOWN_SECONDS
        if begin <= at < end:
            if self._rng.random() < 0.5:
                raise SendFailed("status 503", retryable=True)
            raise SendFailed("no answer", retryable=True, in_doubt=True)
        if end <= at < OVERRUN_UNTIL_SECONDS and self._rng.random() < 0.7:
            raise SendFailed("status 429", retryable=True, retry_after_seconds=self._rng.choice([1.0, 3.0]))
        ref = self._take(parcel)
        if self._rng.random() < 0.1:
            raise SendFailed("no answer", retryable=True, in_doubt=True)
        return ref

    def _take(self, parcel: Parcel) -> Ref:
        at: int | None = int(parcel.ref.ts) if parcel.ref is not None else None
        if parcel.doubtful:
            for wanted in ("news_key", "key"):
                if at is None:
                    at = next(
                        (n for n, p in enumerate(self.posts) if getattr(p, wanted) == getattr(parcel, wanted)), None
                    )
        if at is None:
            self.posts.append(parcel)
            self.shown.append("")
            at = len(self.posts) - 1
        self.shown[at] = parcel.message.kind
        return Ref("C1", str(at))

    def of(self, name: str) -> list[str]:
        """How the messages of one alert look now."""
        return [kind for kind, p in zip(self.shown, self.posts, strict=True) if p.message.alert_id == alert_id(name)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("crashes", [0, 3])
def test_ten_minutes_away_then_429(seed: int, crashes: int) -> None:
    slack, rng = Slack(seed), random.Random(seed)
    calm = Calm(bundle_from=10_000, cap_posts=None)
    made = World(Policy(("slack",), no_data_grace_seconds=86_400.0), [FakeReceiver("slack", slack)], seed, calm)
    before = ["before-over", "before-fires"]
    made.breach(before)
    made.advance(DOWN_SECONDS[0] + 1)
    order = [f"a{number:02}" for number in range(ALERTS)]
    rng.shuffle(order)
    kinds = {name: ("fires", "over", "again")[number % 3] for number, name in enumerate(order)}
    made.clear(["before-over"])
    for number, name in enumerate(order):
        made.breach([name])
        if kinds[name] != "fires":
            made.advance(3.0)
            made.clear([name])
        if kinds[name] == "again":
            made.advance(3.0)
            made.breach([name])
        made.advance(5.0)
        if crashes and number % (ALERTS // crashes) == 0:
            made.crash()
    made.advance(1000.0, step=2.0)
    assert made.engine.owed() == 0, "nothing is lost"
    assert slack.of("before-over") == ["resolved"]
    assert slack.of("before-fires") == ["firing"]
    wanted = {"fires": ["firing"], "over": ["cleared"], "again": ["cleared", "firing"]}
    assert {name: slack.of(name) for name in order} == {name: wanted[kinds[name]] for name in order}, "once each"
    keys = [parcel.news_key for parcel in slack.posts]
    assert len(keys) == len(set(keys))
    decided = [parcel.owed.decided_seconds for parcel in slack.posts if parcel.owed is not None]
    assert decided == sorted(decided), "in the order in which it was decided"
