from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedwatch import vector_files, wire
from embedwatch.collecting import Block, Copies, Keep, Kind, Kinds, Limit, block_of, file_stem
from embedwatch.errors import InputError, InvalidEvent
from embedwatch.vector_files import Out, group_rows, open_out, paths_of

DIMS = 3
KIND = Kind(DIMS, "float32", "m", "f")


def message(
    ids: list[str], numbers: list[float], *, chunk: bool = True, offset: int = 0, partition: int = 0,
    time_ms: int | None = 0, dtype: str = "float32", fingerprint: str = "f",
) -> Block:  # fmt: skip
    """A block as the topic would bring it: through the bytes and headers of the wire."""
    matrix = np.array([[number, number + 0.25, -number] for number in numbers], dtype)
    headers = wire.vector_headers(dtype=dtype, dims=DIMS, model="m", fingerprint=fingerprint, chunk=chunk)
    value = wire.encode_vectors(ids, matrix) if chunk else wire.encode_vector(matrix[0])
    key = ids[0].encode() if ids else b"k"
    block = block_of(key, value, headers, partition=partition, offset=offset, timestamp_ms=time_ms)
    assert block is not None
    return block


def write(path: Path, blocks: Iterable[Block], mask: Any = None) -> Out:
    blocks = list(blocks)
    path.unlink(missing_ok=True)  # of the example before
    out = open_out(path, blocks[0].kind)
    for block in blocks:
        out.add(block)
    out.close(mask)
    assert not path.exists()
    out.publish()
    return out


def read(path: Path) -> list[tuple[str, list[float]]]:
    if path.suffix == ".npy":
        ids = [json.loads(line) for line in paths_of(path)[1].read_text(encoding="utf-8").split("\n")[:-1]]
        return list(zip(ids, np.load(path).tolist(), strict=True))
    table = pq.read_table(path)
    return list(zip(table["id"].to_pylist(), table["vector"].to_pylist(), strict=True))


number = st.integers(-1000, 1000)
text_id = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
chunk = st.lists(st.tuples(text_id, number), min_size=1, max_size=6)


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@given(st.lists(chunk, min_size=1, max_size=8), st.integers(1, 9), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_id_keeps_its_vector_in_chunks_and_alone_and_when_rows_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, dtype: str, chunks: Any, held: int, data: Any
) -> None:
    monkeypatch.setattr(vector_files, "MAX_GROUP_ROWS", held)
    blocks = [
        message([i for i, _ in c], [n for _, n in c], chunk=len(c) > 1 or data.draw(st.booleans()), dtype=dtype)
        for c in chunks
    ]
    rows = [(i, [float(n), n + 0.25, float(-n)]) for c in chunks for i, n in c]
    keys = [(i, np.array(vector, dtype).tolist()) for i, vector in rows]
    mask = data.draw(st.none() | st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)).map(np.array))
    path = tmp_path / f"out{suffix}"
    write(path, blocks, mask)
    assert read(path) == (keys if mask is None else [row for row, stays in zip(keys, mask, strict=True) if stays])
    assert not list(tmp_path.glob("*.part"))


def test_a_parquet_file_says_what_its_vectors_are_and_where_they_stood(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    write(path, [message(["a", "b"], [1, 2], partition=3, offset=17, time_ms=1500), message(["c"], [3], time_ms=-1)])
    table = pq.read_table(path)
    assert table.schema.field("vector").type == pa.list_(pa.float32(), DIMS)
    assert table.schema.metadata[b"fingerprint"] == b"f"
    rows = table.drop_columns(["vector"]).to_pylist()
    assert [(r["id"], r["model"], r["fingerprint"], r["partition"], r["offset"]) for r in rows] == [
        ("a", "m", "f", 3, 17), ("b", "m", "f", 3, 17), ("c", "m", "f", 0, 0),
    ]  # fmt: skip
    assert [row["time"] and row["time"].timestamp() for row in rows] == [1.5, 1.5, None]


@pytest.mark.parametrize("compact", [False, True])
def test_row_groups_are_bounded_whatever_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compact: bool) -> None:
    monkeypatch.setattr(vector_files, "MAX_GROUP_ROWS", 10)
    path = tmp_path / "out.parquet"
    blocks = [message([f"{n}-{i}" for i in range(4)], [n] * 4) for n in range(30)]
    write(path, blocks, np.arange(120) % 3 > 0 if compact else None)
    groups = pq.ParquetFile(path).metadata
    sizes = [groups.row_group(number).num_rows for number in range(groups.num_row_groups)]
    assert sum(sizes) == (80 if compact else 120)
    assert max(sizes) < 20
    assert min(sizes[:-1]) >= 10


def test_a_matrix_cut_off_before_its_name_never_stands_beside_the_ids_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.npy"
    write(path, [message(["old"], [1.0])])
    out = open_out(path, KIND)
    out.add(message(["new", "newer"], [2.0, 3.0]))
    out.close(None)
    names = iter((vector_files.os.replace, None))

    def replace(source: Path, target: Path) -> None:
        rename = next(names)
        if rename is None:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(vector_files.os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        out.publish()
    assert not path.exists()
    out.discard()
    assert [found.name for found in tmp_path.iterdir()] == ["out.ids.jsonl"]


def test_what_is_held_in_memory_has_a_bound_in_bytes_too() -> None:
    assert group_rows(KIND) == vector_files.MAX_GROUP_ROWS
    assert group_rows(Kind(1_000_000, "float32", "m", "f")) == 4
    assert group_rows(Kind(1_000_000, "float16", "m", "f")) == 8


def test_a_matrix_can_be_mapped_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    write(path, [message([f"{n}" for n in range(5)], list(range(5))) for _ in range(3)], np.arange(15) % 2 == 0)
    matrix = np.load(path, mmap_mode="r")
    assert isinstance(matrix, np.memmap)
    assert matrix.shape == (8, DIMS)
    assert path.stat().st_size == 128 + 8 * DIMS * 4


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_what_is_discarded_leaves_nothing_and_the_file_of_before_untouched(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    write(path, [message(["a"], [1])])
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    for closed in (False, True):
        out = open_out(path, KIND)
        out.add(message(["b"], [2]))
        if closed:
            out.close(None)
        out.discard()
        assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_an_ending_that_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.parquet, \.npy"):
        open_out(tmp_path / "out.csv", KIND)


# What stays when a text has several vectors

rows = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 1), st.integers(-1, 3), st.integers(0, 1), st.integers(0, 3)),
    max_size=40,
)  # id, kind, time, partition, offset


def filled(rows: list[tuple[str, int, int, int, int]]) -> Copies:
    copies = Copies()
    for i, kind, time_ms, partition, offset in rows:
        copies.add(kind, message([i], [0], time_ms=time_ms, partition=partition, offset=offset))
    return copies


@given(rows, st.sampled_from(["first", "last"]))
def test_of_copies_the_one_stays_that_a_plain_search_finds(
    rows: list[tuple[str, int, int, int, int]], keep: Any
) -> None:
    best: dict[tuple[str, int], int] = {}
    for number, (i, kind, *place) in enumerate(rows):
        held = best.get((i, kind))
        if held is None or (tuple(place) >= tuple(rows[held][2:]) if keep == "last" else place < list(rows[held][2:])):
            best[(i, kind)] = number
    mask = filled(rows).kept(keep)
    assert np.flatnonzero(mask).tolist() == sorted(best.values())


@given(rows, st.randoms(), st.sampled_from(["first", "last"]))
def test_the_order_in_which_partitions_are_read_changes_nothing(
    rows: list[tuple[str, int, int, int, int]], random: Any, keep: Any
) -> None:
    other = list(rows)
    random.shuffle(other)
    one, two = filled(rows).kept(keep), filled(other).kept(keep)
    assert sorted(r for r, k in zip(rows, one, strict=True) if k) == sorted(
        r for r, k in zip(other, two, strict=True) if k
    )


@given(rows, st.integers(1, 8))
def test_so_many_texts_are_there_after_so_many_rows(rows: list[tuple[str, int, int, int, int]], texts: int) -> None:
    copies = filled(rows)
    seen = [len({row[:2] for row in rows[:end]}) for end in range(len(rows) + 1)]
    assert copies.distinct() == seen[-1]
    assert copies.rows_with(texts) == next((end for end, count in enumerate(seen) if count == texts), len(rows))
    assert copies.kinds().tolist() == [row[1] for row in rows]


def test_many_rows_in_chunks_are_counted_as_one_by_one() -> None:
    copies = Copies()
    for begin in range(0, 30_000, 250):
        copies.add(0, message([str(n % 20_000) for n in range(begin, begin + 250)], [0] * 250, offset=begin))
    assert (copies.count, copies.distinct(), copies.rows_with(20_000)) == (30_000, 20_000, 20_000)
    assert np.array_equal(copies.kept("last"), np.arange(30_000) >= 10_000)
    assert np.array_equal(copies.kept("first"), np.arange(30_000) < 20_000)


@pytest.mark.parametrize("keep", ["last", "all"])
def test_a_limit_is_reached_in_time_and_not_before(keep: Keep) -> None:
    copies = Copies() if keep != "all" else None
    limit, total = Limit(3000, copies), 0
    looks = 0
    while not limit.reached(total):
        if copies is not None:
            copies.add(0, message([str(n % 7500) for n in range(total // 2, total // 2 + 50)], [0] * 50))
        total += 50
        looks += 1
        assert looks < 1000
    if copies is None:
        assert total == 3000
    else:
        assert copies.rows_with(3000) <= total <= copies.rows_with(3000) + 2 * 1024
    assert not Limit(None, copies).reached(10**9)


# Kinds


def test_vectors_of_two_kinds_are_refused_unless_each_has_its_file() -> None:
    other = Kind(DIMS, "float32", "m", "g")
    kinds = Kinds(split=False)
    assert kinds.number(KIND) == kinds.number(KIND) == 0
    with pytest.raises(InputError, match="--fingerprint f or --fingerprint g, or give --split"):
        kinds.number(other)
    with pytest.raises(InputError, match="--model or --fingerprint"):
        kinds.number(Kind(DIMS, "float16", "m", "f"))
    several = Kinds(split=True)
    assert [several.number(kind) for kind in (KIND, other, KIND)] == [0, 1, 0]
    for n in range(2, 64):
        several.number(Kind(100 + n, "float32", "m", "f"))
    with pytest.raises(InputError, match="more than 64"):
        several.number(Kind(1, "float32", "m", "one more"))


@given(st.lists(st.text(max_size=12), max_size=10))
def test_names_of_files_are_different_and_stay_in_their_folder(fingerprints: list[str]) -> None:
    taken: list[str] = []
    for fingerprint in fingerprints:
        taken.append(file_stem(Kind(1, "float32", "", fingerprint), taken))
    assert len({name.lower() for name in taken}) == len(fingerprints)
    assert all(name == Path(name).name and name.isascii() and name not in ("", ".", "..") for name in taken)


def test_a_message_without_vectors_is_no_block_and_a_broken_one_is_an_error() -> None:
    headers = wire.vector_headers(dtype="float32", dims=DIMS, model="m", fingerprint="f", chunk=True)
    empty = wire.encode_vectors([], np.empty((0, DIMS), np.float32))
    assert block_of(b"k", empty, headers, partition=0, offset=0, timestamp_ms=0) is None
    with pytest.raises(InvalidEvent):
        block_of(b"k", b"no vectors", headers, partition=0, offset=0, timestamp_ms=0)


def test_a_single_vector_and_a_chunk_of_one_are_the_same() -> None:
    one, many = message(["a"], [1], chunk=False), message(["a"], [1])
    assert np.array_equal(one.matrix, many.matrix)
    assert one.ids == many.ids
