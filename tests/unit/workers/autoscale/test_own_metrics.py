"""What the autoscaler answers of itself, and the file that carries it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from embedwatch.settings_metrics import MetricsSettings
from embedwatch.stage_metrics import grouped
from workers.autoscale.own_metrics import FAMILIES, Report, look
from workers.autoscale.reporting import EVERY_SECONDS, Reporter, read

GOOD = Report(
    2, {"up": 2, "free": 1}, wanted_workers=3, answer_seconds_ago=1.0, decisions=4, started=5, stopped=3, crashes=2,
    restarts=1, given_up=1,
)  # fmt: skip
MINE = MetricsSettings(metrics_port=9103)


def numbers(report: Report | None, age_seconds: float = 0.5) -> dict[str, float]:
    return {
        " ".join([sample.name, *sample.labels]): sample.number
        for _, samples in grouped(FAMILIES, look(report, age_seconds).samples)
        for sample in samples
    }


def test_every_family_has_its_number_where_all_is_known() -> None:
    assert numbers(GOOD) == {
        "ready": 1, "wanted_workers": 3, "target_workers": 2, "places up": 2, "places free": 1,
        "answer_age_seconds": 1.5, "decisions": 4, "started_workers": 5, "stopped_workers": 3, "crashes": 2,
        "restarts": 1, "given_up": 1,
    }  # fmt: skip
    assert {key.split()[0] for key in numbers(GOOD)} == {family.name for family in FAMILIES}


def test_what_the_agents_have_not_said_is_absent() -> None:
    found = numbers(replace(GOOD, wanted_workers=None, held="none yet", reason="not yet", answer_seconds_ago=None))
    assert not set(found) & {"wanted_workers", "answer_age_seconds"}
    assert (found["ready"], numbers(None)) == (0, {"ready": 0})


@pytest.mark.parametrize(
    ("held", "ready"),
    [(None, True), ("undecided", True), ("none yet", False), ("no answer", False), ("silent", False), ("old", False),
     ("foreign", False)],
)  # fmt: skip
def test_ready_is_when_the_agents_answer_also_that_they_do_not_decide(held: str | None, ready: bool) -> None:
    seen = look(replace(GOOD, held=held, reason="why"), 0.5)
    assert (seen.unready, seen.dead) == ([] if ready else ["why"], [])


def test_it_lives_while_its_reports_come() -> None:
    assert look(GOOD, 60.0).dead == []
    assert look(GOOD, 61.0).dead == look(None, 61.0).dead == ["its main loop has not moved for 61 s; 60 s are allowed"]
    assert look(None, 1.0).unready == ["it has just begun"]


def test_a_report_is_read_as_it_was_written_and_only_by_its_user(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    reporter = Reporter(path, MINE)
    assert read(path) == (None, None)
    assert reporter.due(0.0)
    reporter.write(GOOD, 0.0)
    found, written = read(path)
    assert found == GOOD
    assert written == path.stat().st_mtime
    assert path.stat().st_mode & 0o777 == 0o600
    assert not reporter.due(EVERY_SECONDS / 2)
    assert reporter.due(EVERY_SECONDS)
    path.write_text("{")
    assert read(path) == (None, None)
    reporter.close()
    assert os.listdir(tmp_path) == []


def test_a_link_in_its_place_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "r.new").symlink_to(victim)
    (tmp_path / "r.json").symlink_to(victim)
    reporter = Reporter(tmp_path / "r.json", MINE)
    for now in (0.0, 1.0):
        reporter.write(GOOD, now)
    assert victim.read_text() == "mine"
    assert read(tmp_path / "r.json") == (None, None)
    (record,) = caplog.records  # said once
    assert "cannot be written" in record.getMessage()


def test_the_answering_process_gets_its_settings_by_the_environment(tmp_path: Path) -> None:
    environ: Any = Reporter(tmp_path / "r.json", MINE).member.environ
    assert MetricsSettings.model_validate_json(environ["EMBEDWATCH_AUTOSCALE_METRICS"]) == MINE
