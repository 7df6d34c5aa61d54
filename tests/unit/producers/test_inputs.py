from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedwatch.errors import InputError
from producers.inputs import MAX_NAME_CHARS, Found, find, short_label
from producers.text import Format, Input


def look(*paths: object, form: Format | None = None, encoding: str = "utf-8", source: str | None = None) -> Found:
    return find([str(path) for path in paths], form, encoding=encoding, source=source, stdlib_docs=False)


def names(found: Found) -> list[str]:
    return [spec.name for spec in found.inputs]


def put(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"PAR1" if file.endswith(("parquet", "pq")) else b"x\n")


def test_a_folder_is_all_its_files_of_known_types_in_a_stable_order(tmp_path: Path) -> None:
    put(
        tmp_path,
        "b.txt",
        "a/z.csv",
        "a/y/x.JSONL",
        "a.md",
        "c.parquet",
        "d.tsv",
        "pic.png",
        ".hidden.txt",
        ".git/a.txt",
    )
    found = look(tmp_path)
    assert names(found) == ["a/y/x.JSONL", "a/z.csv", "a.md", "b.txt", "c.parquet", "d.tsv"]
    assert [spec.format for spec in found.inputs] == ["jsonl", "csv", "txt", "txt", "parquet", "csv"]
    assert found.ignored_files == 2


def test_a_folder_with_a_format_is_its_files_of_that_format(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "b.csv")
    assert names(look(tmp_path, form="csv")) == ["b.csv"]


def test_a_format_wins_over_the_extension_of_a_file(tmp_path: Path) -> None:
    put(tmp_path, "events.log")
    assert look(tmp_path / "events.log", form="jsonl").inputs[0].format == "jsonl"


def test_files_of_the_same_name_have_different_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/x.txt", "b/x.txt", "c.txt")
    monkeypatch.chdir(tmp_path)
    assert names(look("a/x.txt", "b/x.txt", "c.txt")) == ["a/x.txt", "b/x.txt", "c.txt"]
    assert names(look("a", "b")) == ["a/x.txt", "b/x.txt"]


def test_a_source_is_the_header_and_begins_the_ids(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "b.txt")
    found = look(tmp_path / "a.txt", tmp_path / "b.txt", "-", source="wiki")
    assert [(spec.source, spec.name) for spec in found.inputs] == [
        ("wiki", "wiki/a.txt"),
        ("wiki", "wiki/b.txt"),
        ("wiki", "wiki"),
    ]


def test_standard_input_is_text_unless_told_otherwise() -> None:
    assert look("-").inputs == [Input("stdin", "-", "standard input", "stdin", "stdin", "txt", waits=True)]
    assert look("-", form="jsonl").inputs[0].format == "jsonl"


def test_a_pipe_is_not_read_before_its_turn(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (spec,) = look(tmp_path / "pipe", form="txt").inputs
    assert spec.waits
    assert spec.size_bytes is None
    with pytest.raises(InputError, match="Parquet needs a regular file"):
        look(tmp_path / "pipe", form="parquet")


def test_what_is_wrong_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    put(tmp_path, "good.txt", "what.bin", "noext", "pics/a.png")
    (tmp_path / "fake.parquet").write_bytes(b"not parquet at all")
    (tmp_path / "binary.txt").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "empty").mkdir()
    good = tmp_path / "good.txt"
    for path, says in [
        (tmp_path / "gone.txt", "gone.txt: No such file or directory; check the path"),
        (tmp_path / "what.bin", "what.bin: extension '.bin' is not known (known: .txt, "),
        (tmp_path / "noext", "noext: the name has no extension"),
        (tmp_path / "fake.parquet", "fake.parquet: is not Parquet: it starts with b'not '"),
        (tmp_path / "binary.txt", "binary.txt: looks like binary (NUL bytes"),
        (tmp_path / "pics", "pics: no files with a known extension (.txt, "),
        (tmp_path / "empty", "empty: no files with a known extension"),
        (good, "is given 2 times: its texts would have the same ids"),
        (good / "below", "below: Not a directory"),
    ]:
        with pytest.raises(InputError) as caught:
            look(good, path)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


def test_standard_input_cannot_be_given_twice_nor_be_parquet() -> None:
    with pytest.raises(InputError, match=r"standard input \(-\) is given 2 times"):
        look("-", "-")
    with pytest.raises(InputError, match="Parquet cannot be read from standard input"):
        look("-", form="parquet")


def test_a_file_that_is_also_in_a_given_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "b.txt")
    with pytest.raises(InputError, match=r"a.txt is given 2 times"):
        look(tmp_path, tmp_path / "a.txt")


def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    put(tmp_path, "secret.txt", "folder/a.txt")
    for path in (tmp_path, *tmp_path.parents):
        if path.owner() == tmp_path.owner() and path != Path("/tmp") and path != Path("/"):  # noqa: S108
            path.chmod(0o755)
    (tmp_path / "secret.txt").chmod(0)
    (tmp_path / "folder").chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(InputError, match=r"secret.txt: cannot be read: Permission denied; check its permissions"):
            look(tmp_path / "secret.txt")
        with pytest.raises(InputError, match="folder: Permission denied; make the folder readable"):
            look(tmp_path / "folder")
    finally:
        if user == 0:
            os.seteuid(0)
        (tmp_path / "folder").chmod(0o755)


def test_names_that_are_long_or_no_text_become_short_labels_that_differ() -> None:
    long = ["x" * 300 + end for end in ("a", "b")]
    labels = [short_label(name) for name in [*long, "plain.txt", "odd\udcff.txt", "odd\udcfe.txt"]]
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= MAX_NAME_CHARS and label.encode() for label in labels)
    assert labels[2] == "plain.txt"
