"""Baseline files: what is written comes back, and what is no baseline is refused in words."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.baselines import (
    MAX_FILE_BYTES,
    Baseline,
    Numbers,
    check_target,
    find,
    from_answer,
    from_json,
    measured,
    path_of,
    places_of,
    read,
    to_json,
    write,
)
from embedwatch.errors import ConfigError, InputError
from embedwatch.events import PHASES
from embedwatch.sketch import Sketch
from tests.harness import baselines

counts = st.integers(0, 2**53)
sketches = st.lists(st.floats(0, 1e8), max_size=30).map(lambda values: Sketch.of(values).to_text())
names = st.text(min_size=1, max_size=40)
amounts = st.floats(0, 1e15)
numbers = st.builds(
    Numbers,
    texts=counts, errors=counts, batches=counts, cache_hits=counts, cache_misses=counts, tokens_received=counts,
    tokens_embedded=counts, unpriced_tokens=counts, cost_nano_usd=counts,
    effective_batches=amounts, covered_seconds=amounts, phase_seconds=st.dictionaries(st.sampled_from(PHASES), amounts),
    latency_sketch=sketches, queue_wait_sketch=sketches, models=st.lists(names, max_size=3),
    price_sources=st.lists(names, max_size=3),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    scopes=st.dictionaries(names, numbers, max_size=4), name=names, window_seconds=st.integers(1, 3600),
    time_seconds=st.floats(0, 4e9),
)  # fmt: skip
def test_a_file_holds_what_was_measured(
    scopes: dict[str, Numbers], name: str, window_seconds: int, time_seconds: float
) -> None:
    kept = Baseline(name, time_seconds, window_seconds, {key: measured(each) for key, each in scopes.items()})
    back = from_json(to_json(kept), "x")
    assert (back.name, back.time_seconds, back.window_seconds) == (name, time_seconds, window_seconds)
    assert {key: each.numbers for key, each in back.scopes.items()} == scopes
    assert all(each.latency.to_text() == scopes[key].latency_sketch for key, each in back.scopes.items())
    assert to_json(back) == to_json(kept)


def test_rates_are_made_from_counts_and_shown_to_people() -> None:
    document = json.loads(to_json(baselines.baseline()))
    assert (document["format"], document["version"], document["saved_at"]) == (
        "embedwatch-baseline", 1, "2027-01-15T08:00:00+00:00",
    )  # fmt: skip
    shown = document["scopes"]["all"]["for_people"]
    assert shown["latency_p95_ms"] == pytest.approx(145, rel=0.006)
    assert shown["queue_wait_p95_ms"] == 3.0
    assert {name: value for name, value in shown.items() if "latency" not in name and "wait" not in name} == {
        "throughput_texts_per_s": 100.0, "throughput_tokens_per_s": 80.0, "cost_per_million_tokens_usd": 0.02,
        "cache_hit_rate_pct": 20.0, "error_rate_pct": 0.0,
    }  # fmt: skip


def test_where_there_is_nothing_to_divide_by_a_rate_is_unknown_and_not_zero() -> None:
    empty = baselines.measured(
        [], texts=0, batches=0, cache_hits=0, cache_misses=0, tokens_embedded=5, unpriced_tokens=5, covered_seconds=0.0
    )
    assert set(empty.for_people().values()) == {None}
    assert empty.phase_ms_per_batch() == {}


def test_phases_are_milliseconds_a_batch_without_the_queue() -> None:
    one = baselines.measured([5.0] * 4, phase_seconds={"embed": 2.0, "queue_wait": 9.0})
    assert one.phase_ms_per_batch() == {
        "cache_lookup": 0.0, "tokenise": 0.0, "embed": 500.0, "cache_write": 0.0, "publish": 0.0,
    }  # fmt: skip


def changed(**fields: Any) -> bytes:
    document = json.loads(to_json(baselines.baseline()))
    numbers = document["scopes"]["all"]
    for name, value in fields.items():
        (numbers if name in numbers else document)[name] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is not JSON"),
        (b"rules: []", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "is not a baseline"),
        (b"{}", "is JSON, but no baseline: make one with `embedwatch baseline save`"),
        (b"[]", "is not a baseline as `embedwatch baseline save` writes it"),
        (changed(version=2), "is a baseline of version 2; this embedwatch reads version 1"),
        (changed(texts=-1), "$.scopes[...].texts"),
        (changed(texts="many"), "Expected `int`, got `str`"),
        (changed(covered_seconds=None), "covered_seconds"),
        (changed(window_seconds=0), "window_seconds"),
        (changed(time_seconds=1e300), "time_seconds"),
        (changed(latency_sketch="AAAA"), "scope 'all': 3 bytes are not a latency sketch"),
        (changed(queue_wait_sketch="?"), "scope 'all': a latency sketch that is not base64"),
        (changed(latency_sketch=Sketch.of([1.0]).to_text()[:-4]), "scope 'all': "),
    ],
)
def test_what_is_no_baseline_is_refused_with_its_name_and_the_reason(data: bytes, words: str) -> None:
    with pytest.raises(InputError) as caught:
        from_json(data, "baseline b.json")
    said = str(caught.value)
    assert said.startswith("baseline b.json")
    assert words in said
    assert "\n" not in said


def test_an_answer_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="the agents answered with a baseline that cannot be read"):
        from_answer({"time_seconds": 1.0})


def test_a_file_appears_whole_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "v1.json"
    write(baselines.baseline(), path)
    assert read(path).scopes["all"].latency.count == 1000
    write(baselines.baseline(all=baselines.measured(np.ones(7))), path)
    assert read(path).scopes["all"].latency.count == 7
    assert [each.name for each in path.parent.iterdir()] == ["v1.json"]


def test_trouble_with_a_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: No such file.*`embedwatch baseline list`"):
        read(tmp_path / "none.json")
    with pytest.raises(InputError, match="Is a directory"):
        read(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        write(baselines.baseline(), tmp_path / "file" / "v1.json")


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path, data = tmp_path / "large.json", to_json(baselines.baseline())
    path.write_bytes(data.ljust(MAX_FILE_BYTES))
    assert to_json(read(path)) == data
    path.write_bytes(data.ljust(MAX_FILE_BYTES + 1))
    with pytest.raises(InputError, match="is larger than 33,554,432 bytes: it is no baseline"):
        read(path)
    with pytest.raises(ConfigError, match="is no baseline: it is not overwritten"):
        check_target(path, force=True)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("v1.2", "f/v1.2.json"),
        ("a/b", "a/b.json"),
        ("a/b.jsonl", "a/b.jsonl.json"),
        ("x.json", "x.json"),
        ("../up.json", "../up.json"),
        ("9_-", "f/9_-.json"),
    ],
)
def test_a_name_is_a_file_of_the_folder_and_a_path_is_a_path(name: str, path: str) -> None:
    assert path_of(name, Path("f")) == Path(path)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "-x", "a b", "ä", "x" * 101])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a baseline"):
        path_of(name, Path("f"))


@pytest.mark.parametrize("name", [".json", "a/", "a/.json", "a/\n.json", "b\x1b.json"])
def test_a_path_that_no_baseline_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no file that a baseline can be written to"):
        path_of(name, Path("f"))


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("v1", ["f/v1.json", "h/v1", "h/v1.json"]),
        ("known.jsonl", ["f/known.jsonl.json", "h/known.jsonl", "h/known.jsonl.json"]),
        ("v1.json", ["h/v1.json", "f/v1.json"]),
        ("a/b", ["h/a/b.json", "h/a/b"]),
        ("a/b.json", ["h/a/b.json"]),
        ("/x/b.json", ["/x/b.json"]),
    ],
)
def test_one_to_be_read_is_looked_for_where_it_is_saved_and_then_elsewhere(name: str, places: list[str]) -> None:
    assert [str(path) for path in places_of(name, Path("f"), Path("h"))] == places


@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}(/[a-z.]{1,9})?", fullmatch=True))
def test_what_is_saved_under_a_name_is_read_under_it_first(name: str) -> None:
    with contextlib.suppress(ConfigError):
        assert places_of(name, Path("f"))[0] == path_of(name, Path("f"))


def test_the_first_place_with_a_file_is_read_and_without_any_all_are_named(tmp_path: Path) -> None:
    write(baselines.baseline("here"), tmp_path / "v1.json")
    (tmp_path / "v1").mkdir()  # a folder is passed over
    assert find("v1", tmp_path / "f", tmp_path).name == "here"
    write(baselines.baseline("kept"), tmp_path / "f" / "v1.json")
    assert find("v1", tmp_path / "f", tmp_path).name == "kept"
    with pytest.raises(InputError) as caught:
        find("v2", tmp_path / "f", tmp_path)
    assert f"looked for {tmp_path}/f/v2.json, {tmp_path}/v2 and {tmp_path}/v2.json;" in str(caught.value)
    with pytest.raises(InputError, match=r"looked for a/b\.json;"):
        find("a/b.json", tmp_path)


def test_only_a_baseline_is_overwritten_and_only_when_told_to(tmp_path: Path) -> None:
    for name, content in {"text": "texts of mine\n", "data": '{"a": 1}', "empty": "", "list": "[1]"}.items():
        (tmp_path / name).write_text(content)
        for force in (False, True):
            with pytest.raises(ConfigError, match="and is no baseline: it is not overwritten"):
                check_target(tmp_path / name, force=force)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name in ("pipe", "nowhere"):
        with pytest.raises(ConfigError, match="is no baseline"):
            check_target(tmp_path / name, force=True)
    (tmp_path / "newer").write_text('{"format": "embedwatch-baseline", "version": 2}')
    with pytest.raises(ConfigError, match="overwrite it with --force"):
        check_target(tmp_path / "newer", force=False)
    check_target(tmp_path / "newer", force=True)
    check_target(tmp_path / "none", force=False)
    with pytest.raises(ConfigError, match="is a folder"):
        check_target(tmp_path, force=True)
