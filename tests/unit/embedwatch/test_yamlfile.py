"""YAML files: every entry has its line, and a file that is not what it claims is one line to the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedwatch.errors import ConfigError
from embedwatch.yamlfile import MAX_ENTRIES, MAX_FILE_BYTES, YamlFile, closest, read_yaml

TEXT = """\
# a comment
kafka:
  topic_prefix: x

rules:
  - metric: a
    window: 10s
  - metric: b
"""


def trouble(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        YamlFile("f.yaml", text)
    return str(caught.value)


def test_every_entry_has_its_line() -> None:
    file = YamlFile("f.yaml", TEXT)
    assert file.place(("kafka",)) == "f.yaml, line 2"
    assert file.place(("kafka", "topic_prefix")) == "f.yaml, line 3"
    assert file.place(("rules", 0, "window")) == "f.yaml, line 7"
    assert file.place(("rules", 1)) == "f.yaml, line 8"


def test_an_entry_that_is_not_there_is_placed_at_the_nearest_around_it() -> None:
    file = YamlFile("f.yaml", TEXT)
    assert file.place(("rules", 1, "threshold")) == "f.yaml, line 8"
    assert file.place(("nothing", "here")) == "f.yaml"
    assert file.place(()) == "f.yaml"


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_file_is_nothing(text: str) -> None:
    assert YamlFile("f.yaml", text).data is None


@pytest.mark.parametrize(("text", "kind"), [("hello", str), ("- a\n- b", list), ("3.5", float)])
def test_what_is_no_mapping_is_given_as_it_is(text: str, kind: type) -> None:
    assert type(YamlFile("f.yaml", text).data) is kind


def test_a_key_that_stands_twice_is_refused_with_both_lines() -> None:
    found = trouble("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n")
    assert found == "f.yaml, line 5: 'c' stands here a second time (first in line 3)"


def test_the_same_key_in_two_places_is_no_duplicate() -> None:
    assert YamlFile("f.yaml", "a: {x: 1}\nb: {x: 2}\nc:\n - x: 1\n - x: 2\n").data["c"] == [{"x": 1}, {"x": 2}]


def test_a_tab_is_named_with_its_line() -> None:
    assert trouble("a:\n\tb: 1\n") == (
        "f.yaml, line 2: not valid YAML: found character '\\t' that cannot start any token"
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1, 2\n", "f.yaml, line 2: "),
        ("a: 'open\n", "f.yaml, line 2: "),
        ("a: b: c\n", "f.yaml, line 1: "),
        ("a: 1\n---\nb: 2\n", "f.yaml, line 2: "),
        ("a: !!python/object/apply:os.system ['true']\n", "f.yaml, line 1: "),
        ("a: 1\nb: *nobody\n", "f.yaml, line 2: "),
        ("? [x, y]\n: 1\n", "f.yaml, line 1: "),
        ("a: \x00\n", "f.yaml: "),
        ("a: 2026-13-45\n", "f.yaml: "),
        ("[" * 20_000, "f.yaml: "),
    ],
)
def test_what_is_no_yaml_is_one_line_with_its_place(text: str, place: str) -> None:
    found = trouble(text)
    assert found.startswith(place + "not valid YAML: ")
    assert "\n" not in found
    assert len(found) < 300


def test_an_alias_inside_its_own_anchor_is_refused() -> None:
    assert "an alias inside its own anchor" in trouble("a: &a [*a]\n")


def test_a_file_that_unfolds_without_end_is_refused_at_once() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
    )
    assert trouble(bomb) == f"f.yaml: more than {MAX_ENTRIES} entries when its aliases are followed"


def test_as_many_entries_as_there_may_be_are_read_and_one_more_is_not() -> None:
    """Most of them by an alias: written out they would be a larger file than may be."""
    aliased = 98  # lists of 999 and an entry for each, where they are made and where they stand again
    begin = f"a: &a [{', '.join(['x'] * 999)}]\nb: [{', '.join(['*a'] * aliased)}]\n"
    left = MAX_ENTRIES - (1 + 999) - (1 + aliased * 1000) - 1

    def text(more: int) -> str:
        return f"{begin}c: [{', '.join(['x'] * (left + more))}]\n"

    found = YamlFile("f.yaml", text(0)).data
    assert (len(found["b"]), len(found["b"][-1]), len(found["c"])) == (aliased, 999, left)
    assert trouble(text(1)) == f"f.yaml: more than {MAX_ENTRIES} entries when its aliases are followed"


def test_anchors_and_merges_may_be_used() -> None:
    file = YamlFile("f.yaml", "base: &base {window: 10s}\nrule:\n  <<: *base\n  metric: m\n")
    assert file.data["rule"] == {"window": "10s", "metric": "m"}


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_yaml(path, "rules file", "check --rules")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_read_with_its_kind_and_name(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: ü\n", encoding="utf-8")
    file = read_yaml(path, "rules file", "check --rules")
    assert file.data == {"a": "ü"}
    assert file.place(("a",)) == f"rules file {path}, line 1"


def test_a_file_that_is_missing_or_a_folder_is_named_with_what_to_check(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert refused(missing) == f"rules file {missing}: No such file or directory; check --rules"
    assert refused(tmp_path) == f"rules file {tmp_path}: Is a directory; check --rules"


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)  # the tests may run as root, who may read everything
    assert refused(tmp_path / "r.yaml") == f"rules file {tmp_path / 'r.yaml'}: Permission denied; check --rules"


@pytest.mark.parametrize("data", [b"a: \xff\n", "a: 1\n".encode("utf-16"), b"PAR1\x80\x81"])
def test_a_file_that_is_not_utf8_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(data)
    assert refused(path) == f"rules file {path} is not UTF-8 text; check --rules"


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"a" * MAX_FILE_BYTES)
    assert read_yaml(path, "rules file", "check --rules").data == "a" * MAX_FILE_BYTES
    path.write_bytes(b"a" * (MAX_FILE_BYTES + 1))
    assert refused(path) == f"rules file {path}: larger than 256 KiB: that is none; check --rules"


def test_what_never_ends_is_not_read_through() -> None:
    assert refused(Path("/dev/zero")) == "rules file /dev/zero: larger than 256 KiB: that is none; check --rules"


@pytest.mark.parametrize("value", ["!!int ''", "!!int '-'", "!!bool maybe", "!!float ''", "!!timestamp x", "!!int [1]"])
def test_a_value_that_is_not_what_its_tag_says_is_one_line(value: str) -> None:
    found = trouble(f"a: {value}\n")
    assert found.startswith("f.yaml")
    assert "not valid YAML: " in found
    assert "\n" not in found


def test_a_near_name_is_suggested_and_otherwise_all_are_listed() -> None:
    assert closest("treshold", ["threshold", "window"]) == "; did you mean threshold?"
    assert closest("zzz", ["window", "threshold"]) == "; known are: threshold, window"


@pytest.mark.parametrize("number", ["1" * 101, "-" + "1" * 101, "0x" + "f" * 900])
def test_a_number_without_end_is_refused_where_it_stands(number: str) -> None:
    for text in (f"a: 1\nb: {number}\n", f"a: 1\n{number}: b\n", f"a:\n- [{number}]\n"):
        assert trouble(text) == f"f.yaml, line 2: a number of {len(number):,} digits; at most 100 are read"
    assert YamlFile("f.yaml", f"a: '{number}'").data == {"a": number}, "a text is one"
