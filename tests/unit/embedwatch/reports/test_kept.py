"""Records of days are put together to what the events came to, and rows by model and tenant add up to it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from embedwatch.codec import decode_kept, encode
from embedwatch.events import BatchEvent, DayEvent, day_key
from embedwatch.reports.build import build
from embedwatch.reports.groups import grouped
from embedwatch.reports.kept import FIELDS, Sums
from embedwatch.scopes import Scope, parse_scope
from tests.harness.agents_log import NOW, batch_event
from tests.harness.reports import NOVEMBER, Records, month, of_events, taken

UTC = ZoneInfo("UTC")
DAY = 86_400
DAYS = ["2027-01-12", "2027-01-13", "2027-01-14"]

events = st.lists(
    st.builds(
        lambda number, ago, model, tenant, cost: batch_event(
            number, time_seconds=NOW - ago * DAY, model=model, tenant=tenant, cost_nano_usd=cost,
            saved_nano_usd=cost // 3,
        ),
        st.integers(0, 10**6), st.integers(1, 3), st.sampled_from(["a", "b", "c, d=e", "=1+1", "é|x"]),
        st.sampled_from([None, "", "t", "u", "v"]), st.integers(0, 2**60),
    ),
    max_size=25,
)  # fmt: skip


def total(some: Sequence[BatchEvent], day: str) -> tuple[int, int, int]:
    ago = 3 - DAYS.index(day)
    mine = [event for event in some if event.time_seconds == NOW - ago * DAY]
    return len(mine) * 10, sum(e.cost_nano_usd for e in mine), sum(e.saved_nano_usd for e in mine)


def numbers(sums: Sums | None) -> tuple[int, int, int]:
    return (0, 0, 0) if sums is None else (sums.texts, sums.cost_nano_usd, sums.saved_nano_usd)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(events, min_size=1, max_size=3), max_scopes=st.sampled_from([4, 1000]),
       piece=st.sampled_from([300, 200_000]), by=st.sampled_from([(), ("model",), ("tenant",), ("model", "tenant"),
       ("tenant", "model")]), base=st.sampled_from(["all", "model=a", "tenant=t", "model=a,tenant=t"]))  # fmt: skip
def test_rows_add_up_to_the_day_and_the_day_to_its_events(
    parts: list[list[BatchEvent]], max_scopes: int, piece: int, by: tuple[str, ...], base: str
) -> None:
    records = of_events(parts, DAYS, UTC, max_scopes, piece)
    days = taken(records, DAYS, "UTC").closed_days()
    assert set(days) == set(DAYS)
    scope: Scope = parse_scope(base)
    dimensions = [name for name in by if name not in dict(scope)]
    for day, kept in days.items():
        assert kept.lacking == 0
        whole = kept.scopes.get("all")
        assert numbers(whole) == total([event for each in parts for event in each], day)
        rows = grouped(kept.scopes, scope, dimensions)
        assert all(getattr(row, name) >= 0 for row in rows.values() for name in FIELDS)
        assert numbers(Sums.of(rows.values())) == numbers(kept.scopes.get(base))
        if max_scopes > 4 and by == ("model", "tenant") and not scope:
            for (model, tenant), row in rows.items():
                mine = [e for each in parts for e in each if (e.model, e.tenant or None) == (model, tenant)]
                assert numbers(row) == total(mine, day)


def day_of(records: Records, **changes: Any) -> tuple[bytes, bytes]:
    event = decode_kept(records[0][1])
    assert isinstance(event, DayEvent)
    changed = msgspec.structs.replace(event, **changes)
    return day_key(changed).encode(), encode(changed)


@pytest.fixture
def records() -> Records:
    return of_events([[batch_event(time_seconds=NOW - DAY, cost_nano_usd=7)]], ["2027-01-14"], UTC)


def cost(records: Records) -> int:
    return taken(records, DAYS, "UTC").closed_days()["2027-01-14"].scopes["all"].cost_nano_usd


def test_of_the_same_part_the_one_that_reaches_further_counts_whatever_comes_last(records: Records) -> None:
    event = decode_kept(records[0][1])
    assert isinstance(event, DayEvent)
    more = {key: msgspec.structs.replace(sums, cost_nano_usd=9) for key, sums in event.scopes.items()}
    further = day_of(records, until_offset=5, scopes=more)
    assert cost([*records, further]) == 9
    assert cost([further, *records]) == 9, "what a process that stood still has written takes nothing back"


def test_what_was_booked_on_a_forgotten_day_is_added(records: Records) -> None:
    assert cost([*records, day_of(records, from_offset=9, until_offset=12)]) == 14


def test_pieces_of_a_writer_that_died_are_left_out_and_the_ones_before_stay(records: Records) -> None:
    torn = day_of(records, until_offset=9, pieces=2, scopes={})
    assert cost([*records, torn]) == 7
    second = day_of(records, until_offset=9, pieces=2, piece=1)
    assert cost([*records, torn, second]) == 7
    alone = taken([torn], DAYS, "UTC").closed_days()
    assert alone == {}, "a day of which no part is whole is not known"


def test_a_partition_that_has_said_nothing_is_missed(records: Records) -> None:
    found = taken([day_of(records, partitions=3)], DAYS, "UTC").closed_days()
    assert found["2027-01-14"].lacking == 2


def test_what_is_not_ours_is_passed_over(records: Records) -> None:
    key, value = records[0]
    strange = [
        (b"application|day|2027-01-14|0|0|0", value), (b"", b""), (None, value), (key, b"{"), (key, None),
        (b"app|day|2019-01-01|0|0|0", value), (b"\xff", value),
    ]  # fmt: skip
    kept = taken([*records, *strange], DAYS, "UTC")  # type: ignore[list-item]
    assert kept.closed_days()["2027-01-14"].scopes["all"].cost_nano_usd == 7
    assert kept.refused == 2
    other = taken(records, DAYS, "Europe/Berlin")
    assert (other.closed_days(), other.other_zones) == ({}, {"UTC"})


def test_the_order_of_partitions_does_not_matter() -> None:
    rng = random.Random(3)
    some = [[batch_event(n, time_seconds=NOW - DAY, cost_nano_usd=n**5) for n in range(p, 9)] for p in range(3)]
    records = of_events(some, DAYS, UTC)
    shuffled = rng.sample(records, len(records))
    assert taken(records, DAYS, "UTC").closed_days() == taken(shuffled, DAYS, "UTC").closed_days()


def test_a_record_that_says_it_has_countless_pieces_is_waited_for_and_takes_no_memory() -> None:
    ((key, value),) = of_events([[batch_event(time_seconds=NOW - DAY)]], DAYS[2:], UTC)
    endless = value.replace(b'"pieces":1', b'"pieces":9007199254740992')
    assert endless != value
    assert taken([(key, endless)], DAYS, "UTC").closed_days() == {}


@pytest.mark.parametrize(("was", "becomes"), [(b'"piece":0', b'"piece":1'), (b'"all"', b'"nonsense"')])
def test_what_is_no_piece_and_no_scope_is_refused_and_counted(was: bytes, becomes: bytes) -> None:
    ((key, value),) = of_events([[batch_event(time_seconds=NOW - DAY)]], DAYS[2:], UTC)
    assert was in value
    kept = taken([(key, value.replace(was, becomes))], DAYS, "UTC")
    assert (kept.refused, kept.closed_days()) == (1, {})


def test_an_hour_whose_sketch_cannot_be_read_costs_a_report_nothing_but_its_latencies() -> None:
    known = month()
    spoilt = [replace(hour, latency_sketch="AAAA", queue_wait_sketch="no base64") for hour in known.hours[:1]]
    known.hours = [*spoilt, *known.hours[1:]]
    measured = build(known, NOVEMBER, ()).measured
    assert measured is not None
    assert measured.latency is not None
