"""A process that was stopped and goes on when its alerts are another's: nothing comes twice, nothing old is stored."""

from __future__ import annotations

import logging
import queue
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.membership import Membership, NoMember
from alerting.parcels import Job, Parcel, Result, SendFailed, trial
from alerting.sending import Sender
from alerting.terms import STOOD_STILL, Patience, StoodStill, Term, check_term, holding
from tests.harness.alert_group import PARTITION, SESSION_SECONDS, Broker, Channel, GroupConsumer, HandClock, Process

STOPPED_SECONDS = 3 * SESSION_SECONDS
Start = Callable[..., Process]


@pytest.fixture
def broker() -> Broker:
    return Broker(HandClock())


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def start(broker: Broker, channel: Channel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    started: list[Process] = []

    def begin(name: str) -> Process:
        process = Process(broker, name, channel, monkeypatch)
        started.append(process)
        process.run(3)
        return process

    yield begin
    for process in started:
        process.close()


def away(_: Parcel) -> None:
    raise SendFailed("Slack is away", retryable=True)


def here(_: Parcel) -> None: ...


@pytest.fixture
def pair(start: Start, broker: Broker, channel: Channel) -> tuple[Process, Process]:
    """The owner owes a message that Slack does not take; the other stands by."""
    owner, other = start("owner"), start("other")
    owner.consumer.generation = broker.generation  # it has joined again, as the other came
    channel.before = away
    broker.say("breached")
    owner.run(2)
    assert [entry.kind for entry in broker.state().owed] == ["firing"]
    assert channel.posts == []
    channel.before = here
    return owner, other


def take_over(owner: Process, other: Process, *, asleep: bool = False) -> None:
    """The owner is silent for longer than its session; the other has its alerts and tells of them."""
    broker = owner.broker
    broker.evict(owner.name)
    other.consumer.heartbeat()
    broker.clock.advance(STOPPED_SECONDS, asleep=asleep)
    other.run(4)
    broker.say("ok")
    other.run(4)
    assert [broker.state().status, broker.state().owed] == ["resolved", ()]


@pytest.mark.parametrize("asleep", [False, True], ids=["stopped", "its machine slept"])
def test_between_two_cycles(
    pair: tuple[Process, Process], channel: Channel, asleep: bool, caplog: pytest.LogCaptureFixture
) -> None:
    owner, other = pair
    take_over(owner, other, asleep=asleep)
    told = list(channel.posts)
    writes = len(owner.broker.writes)
    with caplog.at_level(logging.WARNING, "alerting"):
        owner.cycle()
    assert "stood still for" in caplog.text
    owner.run(5)
    assert channel.posts == told
    assert channel.kinds == ["firing", "resolved"]
    assert {who for who, *_ in owner.broker.writes[writes:]} <= {other.name}
    assert owner.broker.state().status == "resolved"


def test_in_the_midst_of_a_cycle_before_it_stores(pair: tuple[Process, Process], channel: Channel) -> None:
    owner, other = pair
    broker = owner.broker
    broker.say("breached", "new")
    owner.in_midst_of_next_cycle(lambda: take_over(owner, other))
    owner.cycle()
    owner.run(5)
    assert {who for who, alert, _ in broker.writes if alert == "latency|new"} == {other.name}
    assert broker.state().status == "resolved"
    assert sorted(channel.kinds) == ["firing", "firing", "resolved"]
    assert len(set(channel.posts)) == len(channel.posts)


def test_in_the_midst_of_a_cycle_that_stores_nothing(pair: tuple[Process, Process], channel: Channel) -> None:
    owner, other = pair
    owner.in_midst_of_next_cycle(lambda: take_over(owner, other))
    owner.cycle()
    assert owner.service._engine.owned is None, "it learned of it before it sent anything"
    owner.run(5)
    assert channel.kinds == ["firing", "resolved"]


def test_with_the_message_in_the_hands_of_its_sender(start: Start, broker: Broker, channel: Channel) -> None:
    """What had been lent to it is over, whoever has the alert by now."""
    owner = start("owner")
    stopped: list[Parcel] = []

    def stop(parcel: Parcel) -> None:
        if not stopped:
            stopped.append(parcel)
            broker.clock.advance(STOPPED_SECONDS)
        check_term()

    channel.before = stop
    broker.say("breached")
    owner.cycle()
    assert len(stopped) == 1
    assert channel.posts == []
    owner.run(6)
    assert channel.kinds == ["firing"], "it is sent once the group has said that it is ours"


def test_one_that_was_stopped_while_nobody_else_was_there_goes_on(
    start: Start, broker: Broker, channel: Channel
) -> None:
    owner = start("owner")
    channel.before = away
    broker.say("breached")
    owner.run(2)
    channel.before = here
    broker.clock.advance(STOPPED_SECONDS)
    owner.run(6)
    assert channel.kinds == ["firing"]
    broker.say("ok")
    owner.run(4)
    assert channel.kinds == ["firing", "resolved"]


def test_a_short_stop_is_none(start: Start, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    owner = start("owner")
    broker.clock.advance(SESSION_SECONDS - 1.0)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "alerting"):
        owner.run(3)
    assert caplog.text == ""


def test_while_the_group_does_not_answer_nothing_is_stored_or_sent(
    start: Start, broker: Broker, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    owner = start("owner")
    owner.run(6)  # its last answer is older than a quarter of the session
    broker.reachable = False
    broker.say("breached")
    with caplog.at_level(logging.WARNING, "alerting"):
        owner.run(4)
    assert "the group does not say if these alerts are ours" in caplog.text
    assert (broker.writes, channel.posts) == ([], [])
    broker.reachable = True
    owner.run(4)
    assert channel.kinds == ["firing"]
    assert broker.state().owed == ()


def test_whoever_takes_over_in_a_storm_keeps_its_cap(start: Start, broker: Broker, channel: Channel) -> None:
    owner, other = start("owner"), start("other")
    owner.consumer.generation = broker.generation
    for number in range(15):
        broker.say("breached", str(number))
        owner.run(2)
    assert len(channel.posts) == 10, "half of the cap at once"
    broker.evict(owner.name)
    other.consumer.heartbeat()
    other.run(10)
    assert len(channel.posts) == 10, "a process that was just started has no cap of its own"
    broker.clock.advance(60.0)
    other.run(4)
    assert len(channel.posts) > 10


def test_whom_the_group_has_sent_away_takes_nothing(broker: Broker) -> None:
    client = GroupConsumer(broker, "one")
    broker.members, broker.generation, client.generation = ["one"], 1, 1
    member = Membership(broker.clock, SESSION_SECONDS)
    member.take(client, [PARTITION])
    assert member.term is not None
    assert broker.committed == 0
    broker.evict("one")
    with pytest.raises(NoMember):
        member.take(client, [PARTITION])
    assert member.term is None


def test_what_is_committed_back_is_never_more_than_what_was_committed(broker: Broker) -> None:
    client = GroupConsumer(broker, "one")
    broker.members, broker.generation, client.generation, broker.committed = ["one"], 1, 1, 3
    member = Membership(broker.clock, SESSION_SECONDS)
    member.take(client, [PARTITION])
    client.at = 7  # read, and not stored yet
    broker.clock.advance(SESSION_SECONDS)
    member.prove(client)
    assert broker.committed == 3
    member.commit(client)
    assert broker.committed == 7
    broker.clock.advance(SESSION_SECONDS)
    member.prove(client)
    assert broker.committed == 7


def test_the_group_is_asked_only_when_its_answer_is_old(broker: Broker) -> None:
    client = GroupConsumer(broker, "one")
    broker.members, broker.generation, client.generation = ["one"], 1, 1
    member = Membership(broker.clock, SESSION_SECONDS)
    member.take(client, [PARTITION])
    broker.reachable = False
    broker.clock.advance(member.patience.ask_after_seconds)
    member.prove(client)
    broker.reachable = True
    broker.clock.advance(0.1)
    member.prove(client)
    assert member.term == Term(broker.clock.now(), broker.clock.monotonic())


@given(st.floats(6, 300), st.floats(0, 1000), st.floats(-1000, 1000))
def test_what_an_answer_allows_ends_before_another_can_have_our_alerts(
    session_seconds: float, awake_seconds: float, stepped_seconds: float
) -> None:
    """A member is heard of a quarter of the session before the answer at the latest."""
    patience, term = Patience(session_seconds), Term(1000.0, 0.0)
    age = term.age_seconds(1000.0 + awake_seconds + stepped_seconds, awake_seconds)
    if age <= patience.ask_after_seconds:  # what is stored now is given up when it takes longer
        assert awake_seconds + patience.over_after_seconds <= session_seconds * 3 / 4
    if age <= patience.over_after_seconds:  # a request that may begin now
        assert awake_seconds <= session_seconds / 2


def test_a_sender_refuses_what_was_taken_in_a_term_that_is_over() -> None:
    clock, channel = HandClock(), Channel("scripted")
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    sender = Sender(channel, results, random.Random(1), clock, 5.0)
    job = Job("scripted", (("a", 1),), trial("x"))
    term = Term(clock.now(), clock.monotonic())
    clock.advance(5.0)
    sender.offer(job, term)
    assert results.get(timeout=10).failure is None
    clock.advance(0.1)
    sender.offer(job, term)
    refused = results.get(timeout=10).failure
    assert isinstance(refused, StoodStill)
    assert (refused.retryable, refused.in_doubt, refused.reason) == (True, False, STOOD_STILL)
    sender.offer(job)
    assert results.get(timeout=10).failure is None
    assert len(channel.posts) == 2
    assert sender.close(10)


def test_a_term_binds_only_its_own_thread_and_only_inside() -> None:
    clock = HandClock()
    with holding(Term(clock.now(), clock.monotonic()), 5.0, clock):
        check_term()
        clock.advance(6.0, asleep=True)
        with pytest.raises(StoodStill):
            check_term()
    check_term()
