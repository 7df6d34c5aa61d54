from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness import kafka_jars
from tests.harness.kafka_jars import CannotRun, intact, java_major, kafka_version, resolve, why_not


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on PATH but this folder, and an empty cache."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setattr(kafka_jars, "cache_folder", lambda: tmp_path / "jars")
    return path


def jars(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a.jar").write_bytes(b"12345")
    (folder / "jars.json").write_text(json.dumps({"a.jar": 5}))
    return folder


def fake_maven(folder: Path, *names: str) -> None:
    """A Maven that puts files with these names where it is told to; `dir` stands for the output folder."""
    lines = ['for word; do case "$word" in -DoutputDirectory=*) dir="${word#*=}";; esac; done', '/bin/mkdir -p "$dir"']
    lines += [f'echo jar > "$dir/{name}"' for name in names]
    program(folder, "mvn", "\n".join(lines))


@pytest.mark.parametrize(
    ("line", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_392"', 8),
        ("no runtime here", None),
    ],
)
def test_the_version_of_java_is_read_as_each_java_tells_it(tmp_path: Path, line: str, major: int | None) -> None:
    assert java_major(str(program(tmp_path, "java", f"echo '{line}' >&2"))) == major


def test_a_java_that_does_not_run_has_no_version(tmp_path: Path) -> None:
    assert java_major(str(program(tmp_path, "java", "exit 1"))) is None
    assert java_major(str(tmp_path / "none")) is None


def test_what_is_missing_is_told_in_one_line(bare: Path) -> None:
    assert "no java on PATH" in (why_not() or "")
    program(bare, "java", "echo 'openjdk version \"11.0.2\"' >&2")
    assert "is Java 11" in (why_not() or "")
    program(bare, "java", "exit 1")
    assert "does not run" in (why_not() or "")
    program(bare, "java", "echo 'openjdk version \"17.0.2\"' >&2")
    assert "no mvn on PATH" in (why_not() or "")
    program(bare, "mvn", "exit 0")
    assert why_not() is None


def test_maven_is_not_needed_once_the_jars_are_there(bare: Path, tmp_path: Path) -> None:
    program(bare, "java", "echo 'openjdk version \"17.0.2\"' >&2")
    jars(tmp_path / "jars")
    assert why_not() is None
    assert resolve() == tmp_path / "jars"


def test_java_home_comes_before_the_path(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jdk").mkdir()
    home = program(tmp_path / "jdk" / "bin", "java", "exit 0")
    program(bare, "java", "exit 0")
    assert kafka_jars.java_program() == str(bare / "java")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert kafka_jars.java_program() == str(home)


def test_a_damaged_cache_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "jars"
    assert not intact(folder)
    jars(folder)
    assert intact(folder)
    (folder / "a.jar").write_bytes(b"123")
    assert not intact(folder)
    (folder / "a.jar").unlink()
    assert not intact(folder)
    for text in ("{", "[]", "{}", "null"):
        (folder / "jars.json").write_text(text)
        assert not intact(folder)


def test_a_damaged_cache_is_fetched_again_and_said_so(bare: Path, tmp_path: Path) -> None:
    folder = jars(tmp_path / "jars")
    (folder / "a.jar").unlink()
    fake_maven(bare, f"kafka_2.13-{kafka_version()}.jar", "b.jar")
    said: list[str] = []
    assert resolve(said.append) == folder
    assert sorted(path.name for path in folder.glob("*.jar")) == ["b.jar", f"kafka_2.13-{kafka_version()}.jar"]
    assert intact(folder)
    assert len(said) == 1
    assert kafka_version() in said[0]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_maven_that_fails_leaves_no_cache_and_its_error_is_the_reason(bare: Path, tmp_path: Path) -> None:
    program(bare, "mvn", "echo '[INFO] hello'; echo '[ERROR] Could not resolve host'; exit 1")
    with pytest.raises(CannotRun, match="Could not resolve host"):
        resolve()
    assert not (tmp_path / "jars").exists()


def test_a_maven_that_brings_something_else_is_not_believed(bare: Path, tmp_path: Path) -> None:
    fake_maven(bare, "other.jar")
    with pytest.raises(CannotRun, match="did not bring"):
        resolve()
    assert not (tmp_path / "jars").exists()
