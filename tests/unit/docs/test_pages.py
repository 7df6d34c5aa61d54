"""Everything on a page that needs no running parts: kinds of blocks, commands and their options, YAML, JSON, links.

What is run is run by tests/e2e/test_docs.py.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from embedwatch.rules import parse_rules
from embedwatch.settings import PREFIX, Settings, load
from embedwatch.yamlfile import read_yaml
from tests.harness.doc_blocks import (
    ROOT,
    SHELLS,
    SHOWN,
    Block,
    Command,
    anchors,
    blocks_of,
    commands,
    links,
    pages,
    read,
    spans,
)
from tests.harness.doc_commands import mistake, wrong_words
from tests.harness.doc_ways import LESSER, LESSER_PAGES, RUN, lesser

#: Shown in another program's language, which nothing here can read.
OTHERS = frozenset({"promql", "diff", "ini", "dockerfile", "http", "mermaid"})

each_page = pytest.mark.parametrize("page", pages())


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@each_page
def test_every_block_is_of_a_kind_that_is_tried(page: str) -> None:
    kinds = {block.kind: block.place for block in blocks_of(page, read(page))}
    known = {*SHELLS, *SHOWN, *OTHERS, "python", "yaml", "json"}
    assert not {place for kind, place in kinds.items() if kind not in known}


@each_page
def test_every_command_and_option_exists(page: str, tree: Any, tmp_path: Path) -> None:
    wrong = [
        f"{command.place}: {said}: {command.text}"
        for command in commands(page)
        for call in command.calls()
        if (said := mistake(tree, call, tmp_path)) is not None
    ]
    assert not wrong, "\n".join(wrong)


@each_page
def test_every_command_in_a_sentence_exists(page: str, tree: Any) -> None:
    wrong = [f"{page}:{line}: {said}" for line, text in spans(page) if (said := wrong_words(tree, text)) is not None]
    assert not wrong, "\n".join(wrong)


@each_page
def test_every_variable_and_setting_named_in_a_sentence_exists(page: str, tree: Any) -> None:
    from tests.harness.doc_commands import known_variables

    known = known_variables(tree)
    text = read(page)
    named = set(re.findall(rf"\b{PREFIX}[A-Z0-9_]*[A-Z0-9]\b(?![_…*])", text))
    groups = "|".join(Settings.model_fields)
    settings = {
        found for found in re.findall(rf"`((?:{groups})\.[a-z_0-9]+)`", text) if not found.endswith((".py", ".md"))
    }
    fields = {f"{section}.{name}" for section, info in Settings.model_fields.items()
              for name in cast("Any", info.annotation).model_fields}  # fmt: skip
    allowed = {name for name in named if name.startswith(f"{PREFIX}TEST_") or name == f"{PREFIX}TRACEBACK"}
    assert named - known - allowed == set()
    assert settings - fields == set()


@each_page
def test_every_link_leads_somewhere(page: str) -> None:
    wrong = []
    for line, target in links(page):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists():
            wrong.append(f"{page}:{line}: {target}: there is no such file")
        elif anchor and anchor not in anchors(file.resolve().relative_to(ROOT).as_posix()):
            wrong.append(f"{page}:{line}: {target}: there is no such heading")
    assert not wrong, "\n".join(wrong)


@each_page
def test_yaml_is_what_its_reader_takes(page: str, tmp_path: Path) -> None:
    for block in blocks_of(page, read(page)):
        if block.kind == "yaml":
            try:
                check_yaml(block, tmp_path)
            except Exception as error:
                raise AssertionError(f"{block.place}: {error}") from error


@each_page
def test_json_is_json(page: str) -> None:
    for block in blocks_of(page, read(page)):
        if block.kind == "json":
            for part in block.text.splitlines() if "\n{" in block.text.strip() else [block.text]:
                json.loads(part)


def check_yaml(block: Block, folder: Path) -> None:
    """By the rules' or the settings' own loader; what is of Kubernetes, Prometheus or Compose must be YAML."""
    file = folder / "block.yaml"
    file.write_text(block.text, encoding="utf-8")
    data = read_yaml(file, "block", "look at it").data
    if not isinstance(data, dict):
        raise TypeError("it is no map")
    keys = set(data)
    if keys <= {"thresholds", "rules"}:
        parse_rules(read_yaml(file, "rules file", "look at it"), lambda name: cast("Any", name))
    elif keys <= set(Settings.model_fields):
        load(file, {}, {})
    elif not keys & {"apiVersion", "services", "scrape_configs", "groups", "global", "receivers", "route"}:
        raise ValueError(f"it begins with {sorted(keys)}: neither rules nor settings, nor of another known program")
    else:
        list(yaml.safe_load_all(block.text))


def test_every_line_of_the_table_is_needed_and_has_a_reason() -> None:
    """A reason that no command has any more would hide the next one. The pages of other parts may need the rest."""
    all_commands = [command for page in pages() for command in commands(page)]
    assert len(all_commands) > 50
    assert all(way.reason for way in (*LESSER, *RUN))
    used = {way for command in all_commands if (way := lesser(command)) is not None}
    assert len(used & set(LESSER)) > len(LESSER) // 2
    assert set(LESSER_PAGES) <= set(pages())


def test_a_renamed_option_a_wrong_variable_and_a_missing_file_are_told(tree: Any, tmp_path: Path) -> None:
    def said(text: str) -> str | None:
        (call,) = Command("page", 1, text).calls()
        return mistake(tree, call, tmp_path)

    assert said("embedwatch report --json") is None
    assert "--jason" in (said("embedwatch report --jason") or "")
    assert "no command 'reprot'" in (said("embedwatch reprot") or "")
    assert said("embedwatch lag --group") is not None
    assert "EMBEDWATCH_KAFKA_PARTITION" in (said("EMBEDWATCH_KAFKA_PARTITION=1 embedwatch lag") or "")
    assert "no file" in (said("kubectl apply -f deploy/keda/none.yaml") or "")
    assert said("kubectl apply -f deploy/keda/desired-workers.yaml") is None
    assert "no target" in (said("make dmeo") or "")
    assert "not among the programs" in (said("frobnicate now") or "")
    assert wrong_words(tree, "embedwatch produce --rate") is None
    assert wrong_words(tree, "embedwatch produce --rat") is not None
    assert wrong_words(tree, "embedwatch alerts tset") is not None


def test_blocks_commands_and_comments_are_read_as_a_shell_reads_them() -> None:
    page = (
        "Text.\n<!-- file: a.yaml -->\n```yaml\nx: 1\n```\n1. In a list:\n   ```console\n   $ a --b '#c' \\\n"
        "         d   # why\n   output\n   $ X=1 e | f > g && h\n   ```\n"
    )
    file, shell = blocks_of("page", page)
    assert (file.file, file.text, shell.file) == ("a.yaml", "x: 1\n", None)
    from tests.harness.doc_blocks import commands_of

    first, second = commands_of(shell)
    assert first.text == "a --b '#c' d"
    assert [(c.variables, c.words) for c in second.calls()] == [(("X=1",), ("e",)), ((), ("f",)), ((), ("h",))]
    with pytest.raises(ValueError, match="does not end"):
        blocks_of("page", "```python\n")
    with pytest.raises(ValueError, match="not understood"):
        blocks_of("page", "```python {x}\n```\n")
