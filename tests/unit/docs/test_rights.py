"""What pages say of other parts of the code: rights on topics, and what `embedwatch up` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from embedwatch.local.stack import LocalStack
from embedwatch.settings import Settings
from embedwatch.topics import Topics
from tests.harness.doc_blocks import ROOT

TOPICS = {spec.name.removeprefix("embedwatch.") for spec in Topics("embedwatch").specs()}
#: Where each principal names the topics that it uses.
CODE = {
    "producers": ["producers/**/*.py"],
    "workers": ["workers/*.py"],
    "agents": ["stream_agents/**/*.py"],
    "`embedwatch agents save`, `restore`": ["stream_agents/saving.py"],
    "alerts": ["alerting/**/*.py"],
    "your code with `KafkaSink`": ["embedwatch/sdk/kafka.py"],
    "`embedwatch top`": ["console/*.py", "embedwatch/acts.py"],
    "`embedwatch alerts ack`, `snooze`": ["alerting/cli_people.py"],
    "`embedwatch silence`": ["embedwatch/silencing.py"],
    "`embedwatch dlq replay`": ["embedwatch/replaying.py", "embedwatch/commands/dlq.py"],
    "`embedwatch collect`": ["embedwatch/commands/collect.py", "embedwatch/collecting.py"],
    "`embedwatch lag`": ["embedwatch/commands/lag.py"],
}


def rows() -> dict[str, tuple[set[str], set[str], str]]:
    """By principal: topics read, topics written, groups."""
    text = (ROOT / "docs" / "how-to" / "your-own-kafka.md").read_text(encoding="utf-8")
    table = text.partition("## What the user may do")[2].partition("| principal |")[2]
    found = {}
    for line in table.partition("\n\n")[0].splitlines()[2:]:
        name, reads, writes, groups = (cell.strip() for cell in line.strip().strip("|").split("|"))
        found[name] = set(re.findall(r"`([a-z-]+)`", reads)), set(re.findall(r"`([a-z-]+)`", writes)), groups
    return found


def sources(name: str) -> Iterator[Path]:
    """The files of a principal; one that another principal names alone is not of a folder's."""
    apart = {pattern for other, patterns in CODE.items() if other != name for pattern in patterns if "*" not in pattern}
    for pattern in CODE[name]:
        yield from (path for path in ROOT.glob(pattern) if str(path.relative_to(ROOT)) not in apart)


@pytest.mark.parametrize("name", CODE)
def test_a_principal_has_rights_on_every_topic_that_its_code_names(name: str) -> None:
    reads, writes, _ = rows()[name]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources(name))
    named = re.findall(r"topics\.(\w+)\b(?!\()", code) + re.findall(r'topics\["(\w+)"\]', code)
    named += re.findall(r'topic_prefix}\.(\w+)"', code)
    used = {each.replace("_", "-") for each in named} & TOPICS
    assert used
    assert used <= reads | writes


def test_every_topic_has_somebody_who_writes_it_and_none_is_made_up() -> None:
    found = rows().values()
    assert set().union(*(writes for _, writes, _ in found)) == TOPICS
    assert set().union(*(reads for reads, _, _ in found)) <= TOPICS


def test_groups_are_those_of_the_settings() -> None:
    settings = Settings()
    named = set(re.findall(r"`(embedwatch-\w+)`", " ".join(groups for *_, groups in rows().values())))
    assert named == {settings.worker.group, settings.agents.app_id, settings.alerts.group}


def test_autoscale_asks_no_broker() -> None:
    assert rows()["`embedwatch autoscale`"] == (set(), set(), "")
    for path in (ROOT / "workers" / "autoscale").glob("*.py"):
        assert not re.search(r"embedwatch\.kafka|import kafka|embedwatch\.reading", path.read_text(encoding="utf-8")), (
            path
        )


def test_the_tutorial_shows_every_line_that_up_prints() -> None:
    stack = SimpleNamespace(
        agents_url="http://127.0.0.1:6066", settings=Settings(), slack=SimpleNamespace(url="x"), folder="y"
    )
    page = (ROOT / "docs" / "tutorial" / "five-minutes.md").read_text(encoding="utf-8")
    shown = page.partition("everything runs; Ctrl-C stops it\n")[2].partition("```")[0]
    lines = [line.split(":  ")[0].strip() for line in shown.splitlines()]
    assert lines == list(LocalStack.addresses(cast(Any, stack)))
    assert f"  {'page:':<24} http://127.0.0.1:6066/ui\n" in shown
