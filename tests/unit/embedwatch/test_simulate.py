"""The command: what it prints, what it refuses, what it reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from embedwatch.cli import build
from embedwatch.errors import ConfigError, InputError
from embedwatch.events import LagEvent, ScalingEvent
from embedwatch.scaling.recorded import Recorder, from_rows

SHORT = ["simulate", "--hours", "1", "--partitions", "12", "--thresholds", "2"]


def run(*arguments: str) -> str:
    found = CliRunner().invoke(build(), [*SHORT, *arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_it_prints_both_and_what_it_comes_to() -> None:
    said = run("--trace", "ramp", "--texts-per-s", "300", "--usd-per-hour", "0.8")
    assert "embedwatch" in said
    assert "KEDA" in said
    assert "at the same wait" in said or "waits as little" in said


def test_all_traces_as_json(tmp_path: Path) -> None:
    found = json.loads(run("--trace", "all", "--thresholds", "1", "--texts-per-s", "100", "--json"))
    assert set(found["traces"]) == {"constant", "ramp", "wave", "burst", "day-100m"}
    one = found["traces"]["constant"]
    assert one["embedwatch"]["texts"] == pytest.approx(360_000, rel=0.1)
    assert len(one["keda"]) == 3
    assert "cost_usd" not in one["embedwatch"]  # no price is known


def test_a_file_of_arrivals_and_a_picture(tmp_path: Path) -> None:
    file, picture = tmp_path / "mine.csv", tmp_path / "out.png"
    file.write_text("\ufeffseconds,texts\n" + "".join(f"{n * 10},{50 + n}\n" for n in range(200)))
    found = json.loads(run("--recorded", str(file), "--plot", str(picture), "--json"))
    assert found["traces"]["mine"]["embedwatch"]["texts"] == sum(50 + n for n in range(200))
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--trace", "brust"], ConfigError, "there are constant, ramp"),
        (["--recorded", "x.csv", "--from-topic"], ConfigError, "arrivals come from one of them"),
        (["--recorded", "not-there.csv"], ConfigError, "there is no such file"),
        (["--min-workers", "5", "--max-workers", "4"], ConfigError, "--max-workers 4 is below --min-workers 5"),
        (["--plot", "/not/there/x.png"], ConfigError, "there is no folder /not/there"),
        (["--plot", "x.nonsense"], ConfigError, "its ending says what to draw"),
    ],
)
def test_what_is_refused(arguments: list[str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        CliRunner().invoke(build(), [*SHORT, *arguments], catch_exceptions=False)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "there is no row"),
        ([{"seconds": "1"}], "line 2: needs the columns"),
        ([{"seconds": "1", "texts": "2"}, {"seconds": "x", "texts": "2"}], "line 3"),
        ([{"seconds": "1", "texts": "-2"}], "line 2"),
        ([{"seconds": "nan", "texts": "2"}], "line 2"),
        ([{"seconds": "1", "texts": "1e308"}], "line 2"),
        ([{"seconds": "1", "texts": "0"}], "no text arrives"),
        ([{"seconds": "0", "texts": "2"}, {"seconds": "1e9", "texts": "2"}], "spans 11,574 days"),
    ],
)
def test_a_file_that_is_wrong_says_where(rows: list[dict[str, str]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_rows(rows, 5.0, "a.csv")


def test_arrivals_come_from_the_ends_of_the_log_and_the_texts_of_a_message() -> None:
    recorder = Recorder("g", "t")
    for second in range(0, 101, 5):
        for partition in (0, 1):
            recorder.add(
                LagEvent(
                    event_id="l", time_seconds=1000.0 + second, group="g", topic="t", partition=partition, status="OK",
                    log_end_offset=10 * second, lag_messages=2, lag_texts=20,
                )
            )  # fmt: skip
    recorder.add(LagEvent(event_id="l", time_seconds=1.0, group="other", topic="t", partition=0, status="OK"))
    recorder.add(LagEvent(event_id="l", time_seconds=9e9, group="g", topic="t", partition=0, status="UNKNOWN"))
    assert recorder.capacity_texts_per_s is None
    decision = ScalingEvent(
        event_id="s", time_seconds=1.0, group="g", topic="t", desired_workers=1, wanted_workers=1, workers=1,
        cause="arrivals", reason="", capacity_texts_per_s=327.0,
    )  # fmt: skip
    for each in (decision, replace(decision, group="other", capacity_texts_per_s=1.0),
                 replace(decision, capacity_texts_per_s=None)):  # fmt: skip
        recorder.add(each)
    assert recorder.capacity_texts_per_s == 327.0, "the last that was measured of this queue"
    assert recorder.partitions == 2
    found = recorder.arrivals(5.0)
    assert np.allclose(found, 2 * 50 * 10)
    with pytest.raises(InputError, match="no lag samples of t and g"):
        recorder.arrivals(50.0)
