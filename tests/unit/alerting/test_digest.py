"""The digest of a day, as its receiver gets it: in a clock moved by the test."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

import pytest

from alerting import digest_books
from alerting.calm import Calm
from alerting.digest import Digest
from alerting.digest_account import WAYS, Account
from alerting.digest_time import Schedule
from alerting.digest_words import compose_digest
from alerting.parcels import Parcel, SendFailed, Traits
from alerting.policy import Policy
from alerting.slack_blocks import render
from alerting.states import Ref
from embedwatch.errors import InvalidEvent
from embedwatch.events import Silence
from embedwatch.services.slack_rules import check_message
from tests.harness.actions import action
from tests.harness.alert_world import START_SECONDS, FakeReceiver, World, alert_id
from tests.harness.digests import Sums, sums

#: 800 s after the world begins.
AT = time(14, 0)
DUE = 800.0
DAY = 86_400.0
POLICY = Policy(("slack",), repeat_interval_seconds=10 * DAY, no_data_grace_seconds=10 * DAY)


def world(
    *receivers: FakeReceiver, policy: Policy = POLICY, calm: Calm | None = None, quiet: bool = False, at: time = AT
) -> World:
    found = World(policy, receivers or [FakeReceiver()], calm=calm, schedule=Schedule(at, UTC, quiet))
    found.cycle()
    return found


def digests(receiver: FakeReceiver) -> list[Parcel]:
    return [parcel for _, parcel in receiver.taken if parcel.message.kind == "digest"]


def told(receiver: FakeReceiver) -> list[Sums]:
    found = [sums(parcel.message.sentence) for parcel in digests(receiver)]
    assert all(each.agree for each in found)
    return found


def go_on(found: World, seconds: float) -> None:
    found.advance(seconds, step=5.0 if seconds < 2000.0 else 60.0)


def until_due(found: World) -> None:
    go_on(found, DUE + 5.0 - found.second % DAY)


def silence(seconds: float, **match: str) -> Silence:
    return Silence("s1", START_SECONDS, "ada", match, START_SECONDS, START_SECONDS + seconds)


def test_the_moment_is_where_these_tests_take_it_to_be() -> None:
    assert Schedule(AT, UTC).latest(START_SECONDS + DUE + 1) == START_SECONDS + DUE
    assert datetime.fromtimestamp(START_SECONDS + DUE, UTC).time() == AT


def test_every_firing_is_accounted_for_by_what_became_of_it() -> None:
    slack = FakeReceiver()
    found = world(slack)
    found.engine.silence([silence(DAY, severity="info")])
    found.breach(["one", "two"])
    go_on(found, 10.0)
    found.breach([f"b{n}" for n in range(6)], severity="warning")  # five or more are one message
    found.breach(["hidden", "gone"], severity="info")
    go_on(found, 10.0)
    found.clear(["gone"], severity="info")
    found.clear(["one"])
    until_due(found)
    assert told(slack) == [
        Sums(10, 0, {"told one by one": 2, "told in bundles": 6, "silenced": 1, "silenced for now": 1})
    ]
    (parcel,) = digests(slack)
    assert parcel.message.title == "📋 Digest: 10 alerts fired, 2 resolved, 8 still fire"
    assert "Fired: 2 critical, 6 warning, 2 info: 10 high latency" in parcel.message.lines
    assert "Resolved: 1 critical, 1 info: 2 high latency" in parcel.message.lines
    assert "Still firing: 1 critical, 6 warning, 1 info" in parcel.message.lines


def test_what_is_open_is_carried_on_into_the_next_one() -> None:
    slack = FakeReceiver()
    found = world(slack)
    found.engine.silence([silence(2 * DAY)])
    found.breach(["a", "b"])
    until_due(found)
    found.clear(["a"])
    found.engine.silence([])
    go_on(found, DAY)
    assert told(slack) == [
        Sums(2, 0, {"silenced for now": 2}),
        Sums(0, 2, {"told one by one": 1, "silenced": 1}),
    ]


def test_what_could_not_be_told_waits_and_the_reason_is_said() -> None:
    def refuses(at: float, parcel: Parcel) -> Ref | None:
        if parcel.message.kind != "digest" and at < DAY:
            raise SendFailed("too long", retryable=False, of_message=True)
        return None

    slack = FakeReceiver(script=refuses, traits=Traits())
    found = world(slack)
    found.breach(["a"])
    until_due(found)
    assert told(slack) == [Sums(1, 0, {"still waiting (too long)": 1})]
    found.clear(["a"])
    go_on(found, DAY)
    assert told(slack)[1] == Sums(0, 1, {"told when over already, merged with its end": 1})


def test_bundles_for_want_of_room_and_what_waits_for_it() -> None:
    slack = FakeReceiver()
    found = world(slack, calm=Calm(bundle_from=5, cap_posts=4, cap_seconds=1200.0))  # two at once, then one in 600 s
    for names in (["a"], ["b", "c", "d"], ["e"]):
        found.breach(names)
        found.advance(1.0)
    go_on(found, 780.0)
    found.breach(["f"])
    until_due(found)
    assert digests(slack) == [], "it counts as a message, too"
    go_on(found, 1200.0)
    expected = {
        "told one by one": 2,
        "told in bundles for want of room under the cap": 3,
        "still waiting (for room under the cap)": 1,
    }
    assert told(slack) == [Sums(6, 0, expected)]
    assert [parcel.message.kind for _, parcel in slack.taken] == ["firing", "bundle", "firing", "firing", "digest"]


def test_a_digest_gets_its_turn_while_critical_ones_never_end() -> None:
    slack = FakeReceiver()
    found = world(slack, calm=Calm(bundle_from=100, cap_posts=8, cap_seconds=300.0))
    for number in range(30):
        found.breach([f"a{number}"])
        go_on(found, 60.0)
    assert len(told(slack)) == 1


def test_one_cause_one_message() -> None:
    slack = FakeReceiver()
    found = world(slack)
    found.hear("breached", "down", alert_type="WORKER_DOWN", scope={})
    found.hear("breached", "low", alert_type="LOW_THROUGHPUT", scope={"worker": "w1"})
    until_due(found)
    assert told(slack) == [Sums(2, 0, {"told one by one": 1, "not told beside its cause for now": 1})]


def test_who_took_what() -> None:
    slack = FakeReceiver()
    found = world(slack)
    found.breach(["a", "b", "c", "d"])
    go_on(found, 10.0)
    for name, do, by in (("a", "acknowledge", "Ada"), ("b", "snooze", "Grace"), ("c", "snooze", "Grace")):
        more: dict[str, Any] = {"until_seconds": found.now + DAY} if do == "snooze" else {}
        asked = action(do, found.now, alert_id=alert_id(name), action_id=name, by=by, **more)
        found.engine.act(asked, found.now, found.second)
    until_due(found)
    (parcel,) = digests(slack)
    assert "Acknowledged: 1 by Ada" in parcel.message.lines
    assert "Snoozed: 2 by Grace until 1970-01-13 13:46:50 UTC" in parcel.message.lines
    assert parcel.message.title.endswith("4 alerts fired, 0 resolved, 4 still fire")


def test_what_comes_and_goes_is_counted_as_that() -> None:
    slack = FakeReceiver()
    found = world(slack)
    for _ in range(6):
        found.breach(["a"])
        go_on(found, 10.0)
        found.clear(["a"])
        go_on(found, 10.0)
    until_due(found)
    (parcel,) = digests(slack)
    (line,) = [line for line in parcel.message.lines if line.startswith("Flapping")]
    assert line.startswith("Flapping: 1 alert began to, ")
    told(slack)


def test_a_quiet_day_is_told_where_that_is_wanted() -> None:
    slack, other = FakeReceiver(), FakeReceiver()
    silent, says = world(slack), world(other, quiet=True)
    for found in (silent, says):
        until_due(found)
        go_on(found, DAY)
    assert digests(slack) == []
    assert [parcel.message.title for parcel in digests(other)] == ["📋 Digest: a quiet day"] * 2


def test_a_day_on_which_something_only_goes_on_is_told() -> None:
    slack = FakeReceiver()
    found = world(slack)
    found.breach(["a"])
    until_due(found)
    go_on(found, DAY)
    assert told(slack) == [Sums(1, 0, {"told one by one": 1}), Sums(0, 0, {})]
    assert digests(slack)[1].message.sentence == "No alert fired."


def test_machines_get_none_and_each_channel_its_own() -> None:
    def route(verdict: Any) -> tuple[str, ...]:
        return ("slack", "webhook") if verdict.severity == "critical" else ("slack:#low", "webhook")

    names = ("slack", "slack:#low", "webhook")
    receivers = [FakeReceiver(name, traits=Traits(bundles=name != "webhook")) for name in names]
    found = world(*receivers, policy=Policy(names, 10 * DAY, 10 * DAY, route=route))
    found.breach(["a", "b"])
    found.breach(["c"], severity="warning")
    until_due(found)
    slack, low, webhook = receivers
    assert told(slack) == [Sums(2, 0, {"told one by one": 2})]
    assert told(low) == [Sums(1, 0, {"told one by one": 1})]
    assert digests(webhook) == []


def test_other_routes_after_a_restart_leave_nothing_open_for_ever() -> None:
    names = ("slack", "slack:#low")
    slack, low = (FakeReceiver(name) for name in names)
    found = world(slack, low, policy=Policy(names, 10 * DAY, 10 * DAY, route=lambda _: ("slack", "slack:#low")))
    found.engine.silence([silence(10 * DAY)])
    found.breach(["a"])
    go_on(found, 10.0)
    found.policy = Policy(names, 10 * DAY, 10 * DAY, route=lambda _: ("slack",))
    found.crash()
    found.engine.silence([silence(10 * DAY)])
    until_due(found)
    go_on(found, DAY)
    assert told(low) == [Sums(1, 0, {"routed elsewhere": 1})]
    assert told(slack) == [Sums(1, 0, {"silenced for now": 1}), Sums(0, 1, {"silenced for now": 1})]


def test_a_receiver_that_was_away_for_days_gets_one_digest_of_them_all() -> None:
    def away(at: float, parcel: Parcel) -> Ref | None:
        if at < 2 * DAY:
            raise SendFailed("status 503", retryable=True)
        return None

    slack = FakeReceiver(script=away, traits=Traits())
    found = world(slack)
    found.breach(["a"])
    found.advance(DAY, step=60.0)
    found.clear(["a"])
    found.breach(["b"])
    found.advance(2 * DAY, step=60.0)
    first, *rest = told(slack)
    assert first == Sums(2, 0, {"still waiting (status 503)": 2})
    assert sum(each.fired for each in rest) == 0
    assert len(digests(slack)) == 2, "the two of the days away are one"


def test_missed_days_are_one_digest() -> None:
    slack = FakeReceiver()
    found = world(slack)
    found.breach(["a"])
    go_on(found, 10.0)
    found.second += 3 * DAY
    found.crash()
    found.advance(10.0)
    assert told(slack) == [Sums(1, 0, {"told one by one": 1})]


def test_killed_between_sending_and_storing_it_sends_the_same_once_more_as_in_doubt() -> None:
    slack = FakeReceiver()
    found = world(slack)
    found.breach(["a"])
    go_on(found, DUE - 10.0)
    found.second = DUE + 1.0
    found.engine.tick(found.now, found.second, 0.0)
    assert found.engine.close_books(found.now, found.second)
    assert found.begin("slack") is None, "sent before it was stored"
    found.save()
    assert found.begin("slack") is not None
    found.arrive("slack")
    found.crash()
    found.advance(10.0)
    first, second = digests(slack)
    assert (first.doubtful, second.doubtful) == (False, True)
    assert (first.news_key, first.message) == (second.news_key, second.message)
    assert first.since_seconds == second.since_seconds


def test_nothing_is_closed_over_what_is_not_stored() -> None:
    found = world()
    found.breach(["a"])
    found.engine.close_books(found.now + DAY, found.second)
    assert found.engine.unsaved_books() == {}
    found.save()
    found.engine.close_books(found.now + DAY, found.second)
    assert list(found.engine.unsaved_books()) == ["digest|0"]


def test_what_may_have_arrived_is_not_made_part_of_the_next_one() -> None:
    def mute(at: float, parcel: Parcel) -> Ref | None:
        if parcel.message.kind == "digest" and at < 2 * DAY + DUE + 60.0:
            raise SendFailed("no answer", retryable=True, in_doubt=True)
        return None

    slack = FakeReceiver(script=mute, traits=Traits())
    found = world(slack)
    found.breach(["a"])
    until_due(found)
    for name in ("b", "c"):
        found.breach([name])
        go_on(found, DAY)
    go_on(found, 300.0)
    assert told(slack) == [Sums(1, 0, {"told one by one": 1}), Sums(2, 0, {"told one by one": 2})]
    assert [parcel.doubtful for parcel in digests(slack)] == [True, False]


def test_what_was_over_before_it_could_be_told_is_counted_each_time() -> None:
    def away(at: float, parcel: Parcel) -> Ref | None:
        if at < 300.0:
            raise SendFailed("status 503", retryable=True)
        return None

    slack = FakeReceiver(script=away, traits=Traits())
    found = world(slack)
    for _ in range(2):
        found.breach(["a"])
        go_on(found, 10.0)
        found.clear(["a"])
        go_on(found, 10.0)
    until_due(found)
    assert told(slack) == [Sums(2, 0, {"told when over already, merged with its end": 2})]


def test_alerts_are_not_forgotten_before_their_digest() -> None:
    slack = FakeReceiver()
    found = world(slack, policy=Policy(("slack",), 10 * DAY, 10 * DAY, forget_after_seconds=60.0))
    found.breach(["a"])
    go_on(found, 10.0)
    found.clear(["a"])
    go_on(found, 300.0)
    assert found.state("a") is not None
    until_due(found)
    assert told(slack) == [Sums(1, 0, {"told one by one": 1})]
    go_on(found, 700.0)
    assert found.state("a") is None


def test_switched_off_nothing_is_counted_and_switched_on_it_begins_anew() -> None:
    slack = FakeReceiver()
    found = world(slack)
    found.breach(["a"])
    go_on(found, 10.0)
    found.schedule = None
    found.crash()
    found.breach(["b"])
    go_on(found, DAY)
    assert found.stored_books == {}
    assert digests(slack) == []
    found.schedule = Schedule(AT, UTC)
    found.crash()
    found.breach(["c"])
    go_on(found, DAY)
    assert told(slack)[-1].fired == 1
    assert len(digests(slack)) == 1


def test_another_process_goes_on_with_the_same_books() -> None:
    slack = FakeReceiver()
    found = world(slack)
    found.breach(["a"])
    go_on(found, 10.0)
    found.engine.release()
    assert not found.engine.close_books(found.now + DAY, found.second)
    found.engine.load({}, frozenset(), (), found.now)
    assert not found.engine.close_books(found.now + DAY, found.second), "standing by"
    found.crash()
    until_due(found)
    assert told(slack) == [Sums(1, 0, {"told one by one": 1})]


def test_a_digest_whose_sums_do_not_agree_says_so() -> None:
    found = Digest(0.0, DAY, Account(1, fired=3, alone=1), waiting=1)
    assert found.unaccounted == 1
    assert "The sums do not agree: 1 unaccounted for." in compose_digest(found).sentence


def test_the_longest_digest_is_one_that_slack_takes() -> None:
    slack = FakeReceiver()
    found = world(slack)
    long = "<!channel> `x` " * 30
    for number in range(40):
        found.hear("breached", f"a{number}", scope={"model": long, "tenant": long}, severity="critical")
    go_on(found, 10.0)
    for number in range(30):
        asked = action(
            "acknowledge", found.now, alert_id=alert_id(f"a{number}"), action_id=f"x{number}", by=f"{number} {long}"
        )
        found.engine.act(asked, found.now, found.second)
    until_due(found)
    (parcel,) = digests(slack)
    assert check_message(*render(parcel.message)) is None
    told(slack)


def test_books_of_a_newer_version_are_refused() -> None:
    books = digest_books.Books(0, 3, 1000.0)
    assert digest_books.decode(digest_books.encode(books)) == books
    newer = digest_books.encode(books).replace(b'"v":1', b'"v":2')
    with pytest.raises(InvalidEvent, match="v is 2"):
        digest_books.decode(newer)
    with pytest.raises(InvalidEvent):
        digest_books.decode(b"[]")


def test_keys_of_books_are_no_ids_of_alerts() -> None:
    assert digest_books.is_key(digest_books.Books(12, 1, 0.0).key)
    assert not any(digest_books.is_key(key) for key in ("digest|all", "digest|model=1", "digest", "latency|0"))


def test_every_way_has_its_words() -> None:
    account = Account(1, fired=len(WAYS), **dict.fromkeys(WAYS, 1))
    read = sums(compose_digest(Digest(0.0, DAY, account)).sentence)
    assert read.agree
    assert len(read.parts) == len(WAYS)
