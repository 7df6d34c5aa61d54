"""The promise: any quantile within 0.5 % of the exact value; count, sum, minimum, maximum exact; merging is exact."""

from __future__ import annotations

import math
from functools import cache
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import InvalidEvent
from embedwatch.sketch import BUCKETS, LARGEST_MS, RELATIVE_ERROR, SMALLEST_MS, Sketch

HEAD_BYTES = 33  # format, count, sum, minimum, maximum
QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
EDGES = (1.005 / 0.995) ** np.arange(-500, 1500)
milliseconds = st.floats(SMALLEST_MS, LARGEST_MS, allow_nan=False)
samples = st.lists(milliseconds, min_size=1, max_size=300)


def exact(values: np.ndarray, q: float) -> float:
    """The value at the rank the sketch promises, ceil(q * (n - 1)): that of `numpy.quantile(method="higher")`."""
    return float(np.sort(values)[math.ceil(q * (len(values) - 1))])


def assert_within_promise(sketch: Sketch, values: np.ndarray) -> None:
    for q in QUANTILES:
        wanted, got = exact(values, q), sketch.quantile(q)
        assert got is not None
        # A float in the last place decides which of two buckets a boundary value falls into: hence the 1e-9.
        assert abs(got - wanted) <= wanted * (RELATIVE_ERROR + 1e-9), (q, wanted, got)


@cache
def datasets() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        "lognormal": rng.lognormal(3, 1.2, 20_000),
        "bimodal": np.concatenate([rng.normal(50, 3, 19_000), rng.normal(2000, 50, 1_000)]).clip(0.1),
        "constant": np.full(5_000, 42.0),
        "heavy tail": (rng.pareto(0.8, 20_000) + 1).clip(max=LARGEST_MS),
        "heavier tail": np.exp(rng.standard_cauchy(20_000).clip(-6, 20)).clip(SMALLEST_MS, LARGEST_MS),
        "two values": np.array([1.0] * 95 + [2000.0] * 5),
        "bucket edges": EDGES,
        # A hair on either side of every edge, where the error is largest and rounding decides.
        "adversarial": np.concatenate([EDGES * (1 - 1e-12), EDGES * (1 + 1e-12)]),
        "all in the ends": np.array([SMALLEST_MS] * 50 + [LARGEST_MS] * 50),
        "one": np.array([7.3]),
    }


@pytest.mark.parametrize("name", datasets())
def test_quantiles_are_within_half_a_percent(name: str) -> None:
    values = datasets()[name]
    assert_within_promise(Sketch.of(values), values)


@given(st.sampled_from(sorted(datasets())), st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(1, 40))
def test_any_quantile_of_any_shape_is_within_half_a_percent_of_numpys(name: str, q: float, parts: int) -> None:
    """Of all values at once, and of parts that were sent and merged."""
    values = datasets()[name]
    merged = Sketch.merged(Sketch.from_text(Sketch.of(part).to_text()) for part in np.array_split(values, parts))
    wanted = exact(values, q)
    for sketch in (Sketch.of(values), merged):
        assert sketch.quantile(q) == pytest.approx(wanted, rel=RELATIVE_ERROR + 1e-9, abs=0)


@given(samples)
def test_quantiles_hold_for_any_values(values: list[float]) -> None:
    assert_within_promise(Sketch.of(values), np.array(values))


@given(samples, st.lists(milliseconds, max_size=300))
def test_what_was_added_since_makes_the_whole_again(first: list[float], more: list[float]) -> None:
    part, whole = Sketch.of(first), Sketch.of([*first, *more])
    added = whole.without(part)
    assert added.count == len(more)
    assert added.total == pytest.approx(sum(more), rel=1e-6, abs=1e-3 * (1 + sum(first) * 1e-9))
    again = Sketch.merged([part, added])
    assert [again.quantile(q) for q in QUANTILES] == [whole.quantile(q) for q in QUANTILES]
    assert Sketch.merged([whole.without(Sketch()), Sketch()]).to_bytes() == whole.to_bytes()


@pytest.mark.parametrize("other", [[5.0, 5.0], [5.0, 900.0], [0.1], [900.0]])
def test_a_sketch_that_is_not_part_of_another_cannot_be_taken_away(other: list[float]) -> None:
    with pytest.raises(ValueError, match="does not have"):
        Sketch.of([5.0, 20.0, 30.0]).without(Sketch.of(other))


@given(st.lists(samples, min_size=1, max_size=6))
def test_merging_in_any_order_is_the_same_as_adding_all(parts: list[list[float]]) -> None:
    merged = Sketch.merged(Sketch.of(part) for part in parts)
    backwards = Sketch.merged(Sketch.of(part) for part in reversed(parts))
    whole = Sketch.of([value for part in parts for value in part])
    for q in QUANTILES:
        assert merged.quantile(q) == backwards.quantile(q) == whole.quantile(q)
    assert (merged.count, merged.minimum, merged.maximum) == (whole.count, whole.minimum, whole.maximum)
    assert merged.total == pytest.approx(whole.total)


@given(samples, samples, samples)
def test_merging_is_associative(one: list[float], two: list[float], three: list[float]) -> None:
    a, b, c = Sketch.of(one), Sketch.of(two), Sketch.of(three)
    left, right = Sketch.merged([Sketch.merged([a, b]), c]), Sketch.merged([a, Sketch.merged([b, c])])
    for sketch in (left, right):
        sketch.total = 0.0  # a sum of floats, equal but for its last places
    assert left.to_bytes() == right.to_bytes()


@given(samples, st.randoms(use_true_random=False))
def test_another_writer_may_name_the_buckets_in_any_order(values: list[float], random: Random) -> None:
    data = Sketch.of(values).to_bytes()
    filled = (len(data) - HEAD_BYTES) // 6
    order = random.sample(range(filled), filled)
    index = np.frombuffer(data, "<u2", filled, HEAD_BYTES)[order]
    counts = np.frombuffer(data, "<u4", filled, HEAD_BYTES + 2 * filled)[order]
    assert Sketch.from_bytes(data[:HEAD_BYTES] + index.tobytes() + counts.tobytes()).to_bytes() == data


@pytest.mark.parametrize("twice", [0, 1])
def test_a_bucket_named_twice_is_refused(twice: int) -> None:
    data = Sketch.of([1.0, 2.0]).to_bytes()
    index = np.repeat(np.frombuffer(data, "<u2", 2, HEAD_BYTES)[twice], 2)
    with pytest.raises(InvalidEvent, match="add up"):
        Sketch.from_bytes(data[:HEAD_BYTES] + index.tobytes() + data[HEAD_BYTES + 4 :])


def test_a_bucket_that_there_is_not_is_refused() -> None:
    data = Sketch.of([1.0, 2.0]).to_bytes()
    for index in ([3, BUCKETS], [BUCKETS, 3], [2**16 - 1, BUCKETS]):
        with pytest.raises(InvalidEvent, match="impossible"):
            Sketch.from_bytes(data[:HEAD_BYTES] + np.array(index, "<u2").tobytes() + data[HEAD_BYTES + 4 :])


@given(samples)
def test_the_wire_form_keeps_everything(values: list[float]) -> None:
    sketch = Sketch.of(values)
    back = Sketch.from_text(sketch.to_text())
    assert back.to_bytes() == sketch.to_bytes()
    assert [back.quantile(q) for q in QUANTILES] == [sketch.quantile(q) for q in QUANTILES]


def test_merging_leaves_the_other_sketch_alone() -> None:
    one, other = Sketch.of([1.0, 2.0]), Sketch.of([3.0])
    before = other.to_bytes()
    one.merge(other)
    one.add([4.0])
    assert other.to_bytes() == before


def test_the_guides_example_shows_what_the_average_hides() -> None:
    sketch = Sketch.of([50.0] * 95 + [2000.0] * 5)
    assert sketch.mean() == pytest.approx(147.5)  # the guide says 147
    assert sketch.quantile(0.5) == pytest.approx(50, rel=RELATIVE_ERROR)
    assert sketch.quantile(0.95) == pytest.approx(2000, rel=RELATIVE_ERROR)


def test_an_empty_sketch_knows_nothing() -> None:
    empty = Sketch.from_text(Sketch().to_text())
    assert empty.count == 0
    assert empty.quantile(0.5) is None
    assert empty.mean() is None
    assert empty.share_above(1.0) is None


def test_values_out_of_range_are_bounded_and_counted() -> None:
    sketch = Sketch.of([0.0, -5.0, 1e12])
    assert sketch.count == 3
    assert sketch.minimum == 0.0
    assert sketch.quantile(0.0) == 0.0
    assert sketch.quantile(1.0) == 1e12


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_latency_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Sketch.of([1.0, bad])


def test_share_above_counts_to_the_resolution_of_a_bucket() -> None:
    sketch = Sketch.of(np.arange(1.0, 101.0))
    assert sketch.share_above(90.0) == pytest.approx(0.10, abs=0.01)
    assert sketch.share_above(0.5) == 1.0
    assert sketch.share_above(1000.0) == 0.0


@given(st.binary(max_size=200))
def test_bytes_that_are_no_sketch_are_refused_in_words(data: bytes) -> None:
    try:
        sketch = Sketch.from_bytes(data)
    except InvalidEvent:
        return
    assert sketch.count == 0


def test_counts_that_do_not_add_up_are_refused() -> None:
    data = bytearray(Sketch.of([1.0, 2.0]).to_bytes())
    data[1] = 9  # the count
    with pytest.raises(InvalidEvent, match="add up"):
        Sketch.from_bytes(bytes(data))


@pytest.mark.parametrize(
    ("total", "minimum", "maximum"), [(1e300, 1.0, 2.0), (3.0, 1.0, 1e300), (3.0, 2.0, 1.0), (math.nan, 1.0, 2.0)]
)
def test_a_sketch_that_no_latencies_make_is_refused(total: float, minimum: float, maximum: float) -> None:
    sketch = Sketch.of([1.0, 2.0])
    sketch.total, sketch.minimum, sketch.maximum = total, minimum, maximum
    with pytest.raises(InvalidEvent):
        Sketch.from_bytes(sketch.to_bytes())


def test_counts_that_do_not_fit_four_bytes_go_through_the_wire() -> None:
    one = Sketch.of([50.0, 60.0])
    for _ in range(40):
        one.merge(Sketch.from_bytes(one.to_bytes()))
    assert one.count == 2**41
    again = Sketch.from_bytes(one.to_bytes())
    assert (again.count, again.total, again.quantile(0.1), again.quantile(0.9)) == (
        one.count, one.total, one.quantile(0.1), one.quantile(0.9),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("total", "minimum", "maximum"),
    [(-100.0, 50.0, 50.0), (99.0, 50.0, 50.0), (101.0, 50.0, 50.0), (100.0, -5.0, 50.0), (100.0, 60.0, 50.0)],
)
def test_sums_that_no_values_have_are_refused(total: float, minimum: float, maximum: float) -> None:
    wrong = Sketch.of([50.0, 50.0])
    wrong.total, wrong.minimum, wrong.maximum = total, minimum, maximum
    with pytest.raises(InvalidEvent, match="add up"):
        Sketch.from_bytes(wrong.to_bytes())


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 50)), max_size=10))
def test_a_value_added_so_many_times_is_as_if_added_one_by_one(values: list[tuple[float, int]]) -> None:
    at_once, one_by_one = Sketch(), Sketch()
    for value_ms, times in values:
        at_once.add_repeated(value_ms, times)
        one_by_one.add([value_ms] * times)
    assert at_once.count == one_by_one.count
    assert at_once.total == pytest.approx(one_by_one.total)
    for q in (0.0, 0.3, 0.5, 0.95, 1.0):
        assert at_once.quantile(q) == one_by_one.quantile(q)
    with pytest.raises(ValueError):
        at_once.add_repeated(1.0, -1)
