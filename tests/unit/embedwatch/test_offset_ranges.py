from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.offset_ranges import OffsetRanges

spans = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 6)), max_size=40)


def built(spans: list[tuple[int, int, int]]) -> tuple[OffsetRanges, set[tuple[int, int]]]:
    ranges, truth = OffsetRanges(), set()
    for partition, first, more in spans:
        ranges.add(partition, first, first + more)
        truth |= {(partition, offset) for offset in range(first, first + more + 1)}
    return ranges, truth


@given(spans)
def test_it_holds_what_a_set_would_hold(spans: list[tuple[int, int, int]]) -> None:
    ranges, truth = built(spans)
    assert list(ranges) == sorted(truth)
    assert len(ranges) == len(truth)
    assert all((place in ranges) == (place in truth) for place in [(p, o) for p in range(4) for o in range(50)])
    listed = list(ranges.ranges())
    touching = [(a, b) for a, b in pairwise(listed) if a[0] == b[0] and a[2] + 1 >= b[1]]
    assert not touching


@given(spans, spans)
def test_two_are_taken_together_and_from_each_other(
    left: list[tuple[int, int, int]], right: list[tuple[int, int, int]]
) -> None:
    (one, one_truth), (two, two_truth) = built(left), built(right)
    assert list(one.without(two)) == sorted(one_truth - two_truth)
    one.update(two)
    assert list(one) == sorted(one_truth | two_truth)


@given(spans)
def test_it_comes_back_from_json(spans: list[tuple[int, int, int]]) -> None:
    ranges, truth = built(spans)
    assert list(OffsetRanges.from_json(json.loads(json.dumps(ranges.as_json())))) == sorted(truth)


@pytest.mark.parametrize(
    "data", [[1], {"x": [[1, 2]]}, {"0": [1]}, {"0": [[2, 1]]}, {"0": [[-1, 2]]}, {"0": [["1", "2"]]}, {"0": None}]
)
def test_what_is_no_set_of_ranges_is_refused(data: Any) -> None:
    with pytest.raises(ValueError):
        OffsetRanges.from_json(data)


def test_a_million_neighbours_are_one_range() -> None:
    ranges = OffsetRanges((0, offset) for offset in range(1_000_000))
    assert list(ranges.ranges()) == [(0, 0, 999_999)]
