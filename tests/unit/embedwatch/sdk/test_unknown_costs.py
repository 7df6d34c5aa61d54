"""What a failed call cost, and tokens nobody counted: from the call to the day of the ledger, absence stays absence."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch import Monitor
from embedwatch.codec import decode_metric, encode
from embedwatch.events import BatchEvent
from embedwatch.sdk import Call, failures
from embedwatch.sdk.coalescing import Coalescer, Identity
from stream_agents.compute.ledger import DayTotals, PartitionState
from stream_agents.compute.summary import day_summary
from stream_agents.compute.world import World
from tests.harness.sdk import watched

NOW = 1_800_000_000.0
DAY = "2027-01-15"
PRICE_NANO_USD = 20
UTC = ZoneInfo("UTC")


def named(name: str, status: int | None = None) -> Exception:
    return type(name, (Exception,), {} if status is None else {"status_code": status})()


def made_from(outer: Exception, cause: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


NEVER_BILLED = [
    ConnectionRefusedError(),
    socket.gaierror(),
    named("ConnectTimeout"),
    named("NewConnectionError"),
    made_from(named("APIConnectionError"), named("ConnectError")),
    made_from(named("APITimeoutError"), named("ConnectTimeout")),
    *(named("APIStatusError", status) for status in (400, 401, 403, 404, 413, 422, 429)),
]
MAYBE_BILLED = [
    TimeoutError(),
    asyncio.CancelledError(),
    KeyboardInterrupt(),
    ConnectionResetError(),
    ValueError(),
    named("ReadTimeout"),
    made_from(named("APITimeoutError"), named("ReadTimeout")),
    made_from(named("ReadTimeout"), named("ConnectError")),  # of the try before it
    named("APIConnectionError"),
    *(named("APIStatusError", status) for status in (408, 499, 500, 502, 503, 504)),
]


@pytest.mark.parametrize("error", NEVER_BILLED, ids=repr)
def test_what_was_refused_or_never_sent_costs_nothing(error: BaseException) -> None:
    assert failures.never_billed(error)
    call = failed(error)
    assert (call.cost_nano_usd, call.tokens, call.unsettled) == (0, 0, False)


@pytest.mark.parametrize("error", MAYBE_BILLED, ids=repr)
def test_what_may_have_been_billed_has_a_cost_that_nobody_knows(error: BaseException) -> None:
    assert not failures.never_billed(error)
    call = failed(error)
    assert (call.cost_nano_usd, call.tokens, call.unsettled) == (None, None, True)


def test_causes_that_go_round_are_looked_at_once_in_a_while() -> None:
    one, other = named("Odd"), named("Odder")
    one.__cause__, other.__cause__ = other, one
    assert not failures.never_billed(one)


def failed(error: BaseException, **options: object) -> Call:
    with watched(**options) as (monitor, calls):
        with contextlib.suppress(BaseException), monitor.call(["a", "b"]):
            raise error
        assert monitor.flush()
    return calls[0]


def test_a_caller_that_knows_the_cost_or_the_tokens_is_believed() -> None:
    with watched() as (monitor, calls):
        for told in ({"tokens": 7}, {"cost_usd": "0.5"}):
            with contextlib.suppress(TimeoutError), monitor.call("a") as call:
                call.usage(**told)  # type: ignore[arg-type]
                raise TimeoutError
        assert monitor.flush()
    assert [(call.cost_nano_usd, call.unsettled) for call in calls] == [
        (7 * PRICE_NANO_USD, False), (500_000_000, False),
    ]  # fmt: skip


def test_a_machine_by_the_hour_and_a_free_model_know_what_failed() -> None:
    mine = failed(TimeoutError(), model="mine", local=True, gpu_usd_per_hour=3600)
    assert mine.cost_nano_usd is not None
    assert (mine.cost_nano_usd > 0, mine.unsettled) == (True, False)
    free = failed(TimeoutError(), model="mine", prices={"mine": Decimal(0)})
    assert (free.cost_nano_usd, free.unsettled) == (0, False)


def test_a_try_within_that_may_have_been_billed_is_told_beside_the_cost_of_the_one_that_succeeded() -> None:
    def run(first: Exception) -> Call:
        with watched() as (monitor, calls):
            with monitor.call("a"):
                with contextlib.suppress(Exception), monitor.call("a"):
                    raise first
                with monitor.call("a") as second:
                    second.usage(3)
            assert monitor.flush()
        return calls[0]

    lost, refused = run(TimeoutError()), run(ConnectionRefusedError())
    assert (lost.cost_nano_usd, lost.tokens, lost.unsettled) == (60, 3, True)
    assert (refused.cost_nano_usd, refused.tokens, refused.unsettled) == (60, 3, False)


def test_parts_that_were_embedded_before_the_whole_failed_are_paid_for() -> None:
    with watched() as (monitor, calls):
        with contextlib.suppress(TimeoutError), monitor.call(["a", "b"]):
            with monitor.call("a") as first:
                first.usage(3)
            with monitor.call("b"):
                raise TimeoutError
        with contextlib.suppress(ConnectionRefusedError), monitor.call(["a", "b"]):
            with monitor.call("a"):
                pass  # embedded, and nobody said how many tokens
            with monitor.call("b"):
                raise ConnectionRefusedError
        assert monitor.flush()
    assert [(call.cost_nano_usd, call.tokens, call.unsettled) for call in calls] == [(60, 3, True), (None, None, True)]


def test_the_summary_of_a_process_is_partial_where_a_failed_call_may_have_been_billed() -> None:
    with Monitor("text-embedding-3-small") as monitor:
        with contextlib.suppress(ConnectionRefusedError), monitor.call("a"):
            raise ConnectionRefusedError
        assert (monitor.summary()["total_cost_usd"], monitor.summary()["cost_state"]) == (0.0, "known")
        with contextlib.suppress(TimeoutError), monitor.call("a"):
            raise TimeoutError
        assert (monitor.summary()["total_cost_usd"], monitor.summary()["cost_state"]) == (None, "unknown")
        with monitor.call("a") as call:
            call.usage(5)
        summary = monitor.summary()
    assert (summary["total_cost_usd"], summary["cost_state"], summary["unsettled_calls"]) == (1e-07, "partial", 1)


# At the agents.


def call_of(**fields: object) -> Call:
    return Call(**{"start_seconds": NOW - 2, "seconds": 1.5, "model": "m", "texts": 4, "misses": 4, "tokens": 5,
                   "cost_nano_usd": 7, "saved_nano_usd": 0, "price_source": "given", **fields})  # type: ignore[arg-type]  # fmt: skip


FAILED = {"misses": 0, "errors": 4, "error_class": "timeout", "tokens": None, "cost_nano_usd": None, "unsettled": True}


def events_of(*calls: Call) -> list[BatchEvent]:
    coalescer = Coalescer(Identity("w"))
    for call in calls:
        coalescer.add(call)
    events = [decode_metric(encode(event)) for event in coalescer.take(NOW)]
    assert all(isinstance(event, BatchEvent) and event.misfit() is None for event in events)
    return events  # type: ignore[return-value]


def shown(*calls: Call) -> dict[str, Any]:
    """The day as the API tells it."""
    world = World(zone=UTC, max_scopes=100, lag_group="g", lag_topic="t")
    world.partitions = {0: PartitionState(next_offset=0)}
    for event in events_of(*calls):
        world.apply_batch(event, NOW)
        world.partitions[0].book(event, UTC, 100)
    return day_summary(world, DAY, now=NOW)


def booked(*calls: Call) -> DayTotals:
    state = PartitionState(0)
    for event in events_of(*calls):
        state.book(event, UTC, 100)
    return state.days[DAY]["all"]


def test_a_failed_call_that_may_have_been_billed_makes_the_days_cost_partial() -> None:
    alone = booked(call_of(**FAILED))
    assert (alone.cost_nano_usd, alone.unsettled_texts, alone.errors, alone.gaps) == (0, 4, 4, 4)
    both = booked(call_of(), call_of(**FAILED))
    assert (both.cost_nano_usd, both.unsettled_texts, both.texts, both.unpriced_tokens) == (7, 4, 8, 0)
    names = ("cost_nano_usd", "cost_state", "unsettled_texts")
    assert [tuple(shown(*calls)[name] for name in names) for calls in (
        [call_of(**FAILED)], [call_of(), call_of(**FAILED)], [call_of()],
    )] == [(None, "unknown", 4), (7, "partial", 4), (7, "known", 0)]  # fmt: skip


def test_tokens_that_nobody_counted_stay_uncounted_beside_a_cost() -> None:
    totals = booked(call_of(tokens=None), call_of())
    assert (totals.tokens_embedded, totals.uncounted_texts, totals.cost_nano_usd) == (5, 4, 14)
    assert (totals.unpriced_tokens, totals.unpriced_texts) == (0, 0)
    assert shown(call_of(), call_of())["cost_per_million_tokens_usd"] is not None
    assert shown(call_of(tokens=None), call_of())["cost_per_million_tokens_usd"] is None, "7 nano-USD of no tokens"


def test_without_a_cost_they_are_one_a_text_so_that_they_show_as_unpriced() -> None:
    totals = booked(call_of(tokens=None, cost_nano_usd=None, price_source="unknown"))
    assert (totals.tokens_embedded, totals.unpriced_tokens, totals.uncounted_texts) == (4, 4, 0)


def test_callers_that_gave_up_are_told_apart_in_the_day() -> None:
    totals = booked(call_of(**{**FAILED, "error_class": "cancelled"}), call_of(**FAILED))
    assert (totals.errors, totals.cancelled_texts) == (8, 4)


def test_what_a_failed_call_is_known_to_have_cost_is_wasted() -> None:
    (event,) = events_of(call_of(), call_of(**{**FAILED, "cost_nano_usd": 11, "tokens": 3, "unsettled": False}))
    assert (event.cost_nano_usd, event.wasted_nano_usd) == (18, 11)
    assert booked(call_of(), call_of(**FAILED)).wasted_nano_usd == 0


@given(st.lists(st.sampled_from([call_of(), call_of(tokens=None), call_of(**FAILED)]), max_size=20))
def test_sums_of_days_are_sums_of_calls(calls: list[Call]) -> None:
    totals = booked(*calls) if calls else DayTotals()
    assert totals.unsettled_texts == sum(call.texts for call in calls if call.unsettled)
    assert totals.uncounted_texts == sum(call.misses for call in calls if call.tokens is None)
    assert totals.cost_nano_usd == sum(call.cost_nano_usd or 0 for call in calls)
