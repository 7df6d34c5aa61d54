from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from embedwatch.errors import InputError
from producers.inputs import find
from producers.sources import read_all
from producers.text import Input, Item, ReadOptions, Tally


def read(tally: Tally, *paths: Path, encoding: str = "utf-8", **more: object) -> list[Item]:
    found = find([str(path) for path in paths], None, encoding=encoding, source=None, stdlib_docs=False)
    return list(read_all(found.inputs, ReadOptions(1000, encoding=encoding, **more), tally))  # type: ignore[arg-type]


def test_inputs_follow_each_other_and_empty_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.parquet").write_bytes(b"")
    (tmp_path / "c.csv").write_text("text\n")
    (tmp_path / "d.jsonl").write_text('{"text": "two"}')
    tally = Tally()
    assert [item.text for item in read(tally, tmp_path)] == ["one", "two"]  # type: ignore[union-attr]
    assert tally.inputs == 4
    assert tally.empty_inputs == [str(tmp_path / "b.parquet"), str(tmp_path / "c.csv")]
    assert tally.position_bytes() == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_whole_files_are_one_text_each_and_other_formats_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.csv").write_text("text\nx\ny\n")
    found = read(Tally(), tmp_path, whole_files=True)
    assert [(i.id, i.text) for i in found] == [("a.txt", "one\n\ntwo\n"), ("b.csv:2", "x"), ("b.csv:3", "y")]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl", "x.csv"])
def test_another_encoding_is_read_in_every_text_format(tmp_path: Path, name: str) -> None:
    body = {"x.txt": "größe\n", "x.jsonl": '{"text": "größe"}\n', "x.csv": "text\ngröße\n"}[name]
    (tmp_path / name).write_text(body, encoding="utf-16")
    (found,) = read(Tally(), tmp_path / name, encoding="utf-16")
    assert found.text == "größe"  # type: ignore[union-attr]


def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    found = find([str(tmp_path / "a.txt")], None, encoding="utf-8", source=None, stdlib_docs=False)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(InputError, match=r"a.txt: cannot be read: No such file or directory"):
        list(read_all(found.inputs, ReadOptions(1000), Tally()))


def test_a_pipe_is_told_from_its_first_bytes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    spec = Input("file", str(pipe), "pipe", "pipe", "pipe", "txt", waits=True)
    for data, expected in [(b"one\ntwo\n", ["one", "two"]), (b"\x7fELF\0", None)]:
        writer = threading.Thread(target=pipe.write_bytes, args=(data,))
        writer.start()
        try:
            if expected is None:
                with pytest.raises(InputError, match=r"pipe: looks like binary \(NUL bytes"):
                    list(read_all([spec], ReadOptions(1000), Tally()))
            else:
                assert [i.text for i in read_all([spec], ReadOptions(1000), Tally())] == expected  # type: ignore[union-attr]
        finally:
            writer.join(30)
