"""A saved state: what is in the file, what a file must be, and when which log is meant."""

from __future__ import annotations

import contextlib
import io
import json
import weakref
from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import InputError
from stream_agents.compute import state_file
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.state_file import (
    Gone,
    Head,
    Kept,
    Latest,
    Mark,
    bounded_lines,
    comes_once,
    digest,
    lines,
    next_offset_of,
    parse,
    rebased,
    thinned,
    which_log,
)
from tests.harness.agents_log import batch_event

HEAD = Head("embedwatch-agents", 1_770_000_000.5, 4, {0: 12, 1: 0, 3: 7}, {0: Mark(11, "a"), 1: None, 3: Mark(6, "b")})


def state(partition: int = 0, next_offset: int = 12) -> Kept:
    value = json.dumps(PartitionState(next_offset=next_offset).to_record()).encode()
    return Kept("state", partition, f'"p{partition}"'.encode(), value, 5)


def read(source: Iterable[str]) -> tuple[Head, list[Kept]]:
    """All of it."""
    head, records = parse(source)
    return head, list(records)


RECORDS = st.builds(
    Kept, st.sampled_from(["state", "alerts", "days"]), st.integers(0, 9), st.none() | st.binary(max_size=20),
    st.binary(max_size=50), st.integers(0, 2**40), st.just((("v", b"1"),)) | st.just(()),
)  # fmt: skip


@given(st.lists(RECORDS, max_size=8))
def test_what_is_written_is_what_is_read(records: list[Kept]) -> None:
    assert read(lines(HEAD, records)) == (HEAD, records)


@given(st.lists(RECORDS, min_size=1, max_size=5), st.data())
def test_a_file_that_was_cut_off_or_changed_is_refused(records: list[Kept], data: st.DataObject) -> None:
    whole = list(lines(HEAD, records))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(InputError):
        read(whole[:cut])
    number = data.draw(st.integers(1, len(whole) - 2))
    changed = [line.replace('"p":', '"p":1') if n == number else line for n, line in enumerate(whole)]
    with pytest.raises(InputError, match="not whole"):
        read(changed)


@given(st.lists(st.text(max_size=60) | st.sampled_from(list(lines(HEAD, [state()]))), max_size=6))
def test_no_file_does_more_than_be_refused(found: list[str]) -> None:
    with contextlib.suppress(InputError):
        assert read(found)[0] == HEAD


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"format": "other"}', "not a saved state"),
        ('{"format": "embedwatch-state", "v": 2}', "is of format 2; this version knows 1"),
        ("[1, 2]", "line 1 is not one"),
    ],
)
def test_another_file_is_told(line: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read([line])


def test_a_line_of_the_largest_size_is_read_and_a_longer_one_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state_file, "MAX_LINE_CHARS", 1000)  # 32 Mi characters would take that much memory, twice
    head, *rest = lines(HEAD, [state()])
    assert max(map(len, rest)) < 1000

    def file(first: str) -> io.StringIO:
        return io.StringIO("\n".join([first, *rest]) + "\n")

    assert read(bounded_lines(file(head.ljust(1000)))) == (HEAD, [state()])
    for size in (1001, 50_000):
        longer = file(head.ljust(size))
        with pytest.raises(InputError, match="line 1 is longer than any record that Kafka takes"):
            read(bounded_lines(longer))
        assert longer.tell() <= 1002, "what may unfold to gigabytes is not read on"


def test_of_a_key_the_last_record_is_kept_and_a_removed_one_is_not() -> None:
    found = [
        Kept("alerts", 0, key, value, 1)
        for key, value in ((b"a", b"1"), (b"b", b"2"), (None, b"3"), (None, b"4"), (b"a", b"5"))
    ]
    kept = thinned([*found, Gone("alerts", 0, b"b"), Gone("alerts", 0, b"never there")], Latest())
    assert [record.value for record in kept] == [b"3", b"4", b"5"]


@pytest.mark.parametrize(
    ("topic", "key", "once"),
    [
        ("windows", b"all|60|1800000000", True), ("corrections", b"app:0:5:2027-01-14:all", True),
        ("days", b"app|window|all|3600|1800000000", True), ("days", b"app|scaling|s:1", True),
        ("days", b"app|day|2027-01-14|0|0|0", False), ("days", b"window|day|2027-01-14|0|0|0", False),
        ("days", b"no bar", False), ("state", b'"p0"', False), ("alerts", b"latency|all", False),
        ("silences", b"s-1", False), ("alerts", None, True),
    ],
)  # fmt: skip
def test_what_comes_once_is_known_by_topic_and_key(topic: str, key: bytes | None, once: bool) -> None:
    assert comes_once(topic, key) is once


def test_a_week_of_windows_goes_through_and_is_never_held() -> None:
    """Of 2,000 records at most a few are in memory at a time, on the way into the file and out of it."""
    alive: weakref.WeakSet[Kept] = weakref.WeakSet()
    most = [0]

    class Watched(Kept):
        __slots__ = ("__weakref__",)

    def topic() -> Iterator[Kept]:
        for number in range(2000):
            record = Watched("windows", 0, b"all|60|%d" % number, b"x" * 100, number)
            alive.add(record)
            most[0] = max(most[0], len(alive))
            yield record
            del record
        for number in range(100):
            yield Kept("alerts", 0, b"a%d" % (number % 7), b"%d" % number, number)

    latest = Latest()
    written = list(lines(HEAD, thinned(topic(), latest)))
    assert (len(written), len(latest)) == (2000 + 7 + 2, 7)
    assert most[0] <= 3
    read_lines = [0]

    def file() -> Iterator[str]:
        for line in written:
            read_lines[0] += 1
            yield line

    _, records = parse(file())
    for number, _ in enumerate(records, start=1):
        assert read_lines[0] == number + 1, "no further than what is asked for"
    assert read_lines[0] == len(written)


def test_a_file_of_an_older_version_with_the_state_in_the_middle_is_read() -> None:
    kept = [Kept("alerts", 0, b"a", b"1", 1), state(), Kept("windows", 0, b"w", b"2", 2)]
    assert read(lines(HEAD, kept)) == (HEAD, kept)


def test_a_state_is_rebased_and_its_sums_stay() -> None:
    kept = PartitionState(next_offset=99)
    kept.book(batch_event(), ZoneInfo("UTC"), 10)
    record = Kept("state", 3, b'"p3"', json.dumps(kept.to_record()).encode(), 5)
    found = rebased(record, {3: 2})
    assert next_offset_of(found) == 2
    changed = json.loads(found.value)
    assert changed["carried_days"] == sorted(kept.days) != []
    assert {**changed, "next_offset": 99, "carried_days": []} == json.loads(record.value)
    history = Kept("state", 3, b'"p3-history-1"', b"{}", 1)
    assert rebased(history, {3: 2}) == history
    assert next_offset_of(Kept("alerts", 0, b"p0", b"{}", 1)) is None
    with pytest.raises(InputError, match="partition 3"):
        next_offset_of(Kept("state", 3, b'"p3"', b"{}", 1))


@pytest.mark.parametrize(
    ("ends", "found", "which"),
    [
        ({0: 12, 1: 5, 3: 9}, {0: "a", 3: "b"}, "same"),
        ({0: 12, 1: 5, 3: 9}, {0: "a", 3: None}, "same"),  # one was removed by retention
        ({0: 12, 1: 5, 3: 9}, {0: None, 3: None}, "unknown"),
        ({0: 0, 1: 0, 3: 0}, {}, "new"),
        ({0: 500, 1: 5, 3: 3}, {0: None}, "new"),
        ({0: 12, 1: 5, 3: 9}, {0: "x", 3: "y"}, "new"),
        ({0: 12, 1: 5, 3: 9}, {0: "a", 3: "y"}, "unknown"),
        ({}, {}, "new"),
    ],
)
def test_whether_the_log_is_the_one_that_was_counted(
    ends: dict[int, int], found: dict[int, str | None], which: str
) -> None:
    assert which_log(HEAD, ends, found) == which


def test_nothing_counted_is_the_same_on_any_log() -> None:
    assert which_log(Head("a", 0.0, 1, {0: 0}, {0: None}), {0: 5}, {}) == "same"


def test_key_and_value_are_told_apart() -> None:
    assert digest(b"a", b"b") != digest(b"ab", b"")
    assert digest(None, None) == digest(b"", b"")
