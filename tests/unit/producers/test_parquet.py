from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedwatch.errors import InputError
from producers.readers.parquet import read_parquet
from producers.text import Bad, Input, Item, Oversized, ReadOptions, SourceText, Tally


def read(path: Path, **options: object) -> list[Item]:
    spec = Input("file", str(path), path.name, path.name, path.name, "parquet", path.stat().st_size)
    merged: dict[str, object] = {"max_text_bytes": 1000, **options}
    return list(read_parquet(spec, ReadOptions(**merged), Tally()))  # type: ignore[arg-type]


def write(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_every_kind_of_text_column_is_read_in_order(tmp_path: Path, kind: pa.DataType) -> None:
    texts = [f"text {n % 50} ü" for n in range(5000)]
    path = write(tmp_path / "x.parquet", n=range(5000), text=pa.array(texts, pa.string()).cast(kind))
    found = read(path)
    assert [item.text for item in found] == texts  # type: ignore[union-attr]
    assert found[2499] == SourceText("x.parquet:2500", "text 49 ü", None, "x.parquet", 2500)


def test_ids_may_be_strings_or_whole_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", key=[5, 6], name=["a", "b"], body=["x", ""])
    assert [(i.id, i.text) for i in read(path, field="body", id_field="key")] == [("5", "x"), ("6", "")]  # type: ignore[union-attr]
    assert [i.id for i in read(path, field="body", id_field="name")] == ["a", "b"]  # type: ignore[union-attr]


def test_one_column_may_be_both_text_and_id(tmp_path: Path) -> None:
    assert read(write(tmp_path / "x.parquet", text=["x"]), id_field="text") == [
        SourceText("x", "x", None, "x.parquet", 1)
    ]


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"body": ["x"], "n": [1]}, {}, "no column 'text'; the columns are: body, n. Name one with --field"),
        ({"text": [1]}, {}, "column 'text' is int64, not text; choose another with --field"),
        ({"text": [b"x"]}, {}, "column 'text' is binary, not text"),
        ({"text": [["x"]]}, {}, "not text; choose another with --field"),
        ({"text": ["x"], "id": [1.5]}, {"id_field": "id"}, "column 'id' is double, not text or whole numbers"),
        ({"text": ["x"]}, {"id_field": "id"}, "no column 'id'; the columns are: text. Name one with --id-field"),
        ({"text": ["x", None]}, {}, "row 2: field 'text' is not text but null"),
        ({"text": ["x", "y"], "id": ["a", None]}, {"id_field": "id"}, "row 2: id field 'id' is null"),
        ({"text": ["x"], "id": [""]}, {"id_field": "id"}, "row 1: id field 'id' is empty"),
    ],
)
def test_a_wrong_column_or_value_is_named(
    tmp_path: Path, columns: dict[str, object], options: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError) as caught:
        read(write(tmp_path / "x.parquet", **columns), **options)
    assert str(caught.value).startswith("x.parquet")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_off_is_not_parquet(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", text=["x"] * 100)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"x.parquet: is not a Parquet file that can be read: "):
        read(path)


def test_damage_in_the_middle_is_named_with_the_row(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    texts = [f"{n * 7919 % 10007:x} text" for n in range(6000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=3000, use_dictionary=False, compression="zstd")
    group = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    middle = group.data_page_offset + group.total_compressed_size // 2
    data[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(data)
    spec = Input("file", str(path), "x.parquet", "x.parquet", "x.parquet", "parquet", len(data))
    found: list[Item] = []
    with pytest.raises(InputError, match=r"x.parquet, row \d+: the file is damaged from here on: "):
        found.extend(read_parquet(spec, ReadOptions(1000), Tally()))
    assert [item.text for item in found] == texts[: len(found)]  # type: ignore[union-attr]
    assert len(found) >= 2048


def test_a_string_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"caf\xe9", None], pa.binary())
    wrong = pa.Array.from_buffers(pa.string(), 2, raw.slice(0, 2).buffers())
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": wrong}), path)
    assert [(i.text, i.raw) for i in read(path)] == [("good", None), (None, b"caf\xe9")]  # type: ignore[union-attr]


def test_a_text_above_the_limit_says_which_row(tmp_path: Path) -> None:
    assert read(write(tmp_path / "x.parquet", text=["x", "y" * 1001]))[1] == Oversized("x.parquet, row 2", 1001, 1000)


def test_how_far_reading_is_grows_to_the_size_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", text=[str(n) for n in range(5000)])
    size = path.stat().st_size
    tally = Tally()
    spec = Input("file", str(path), "x", "x", "x", "parquet", size)
    seen = [tally.position_bytes() for _ in read_parquet(spec, ReadOptions(1000), tally)]
    assert seen == sorted(seen)
    assert seen[-1] == size


def test_a_null_text_or_id_may_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", text=["a", None, "c", "d"], id=["1", "2", None, "4"])
    with pytest.raises(InputError, match=r"row 2: field 'text' is not text but null; .*--on-bad skip"):
        read(path, id_field="id")
    found = read(path, id_field="id", skip_bad=True)
    assert [type(item) for item in found] == [SourceText, Bad, Bad, SourceText]
    assert found[2] == Bad("x.parquet, row 3", "id field 'id' is null; each text needs an id")
