"""A second autoscale of a group is refused here, and workers of nobody known are noticed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedwatch.errors import ConfigError
from workers.autoscale.only_one import PATIENCE_SECONDS, Others, lock_path, only_one

SERVERS = "127.0.0.1:9092"


def test_a_second_one_of_the_group_is_refused_and_told_who_is_the_first(tmp_path: Path) -> None:
    with only_one(SERVERS, "g", tmp_path):
        with (
            pytest.raises(ConfigError, match=rf"group g runs here \(process {os.getpid()}\)"),
            only_one(SERVERS, "g", tmp_path),
        ):
            raise AssertionError("it got in")
        with only_one(SERVERS, "other", tmp_path), only_one("broker:9092", "g", tmp_path):
            pass
    with only_one(SERVERS, "g", tmp_path):
        pass


def test_one_that_was_killed_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from workers.autoscale.only_one import only_one\n"
        f"with only_one({SERVERS!r}, 'g', Path(sys.argv[1])):\n print('in', flush=True)\n time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"in\n"
            with pytest.raises(ConfigError, match=f"process {other.pid}"), only_one(SERVERS, "g", tmp_path):
                pass
        finally:
            other.kill()
    with only_one(SERVERS, "g", tmp_path):
        pass


def test_where_nothing_can_be_locked_it_goes_on_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock_path(SERVERS, "g", tmp_path).symlink_to(tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING), only_one(SERVERS, "g", tmp_path):
        pass
    assert "cannot be locked" in caplog.text
    assert not (tmp_path / "elsewhere").exists()


def test_workers_that_nobody_here_has_started_are_told_once_when_they_stay() -> None:
    others = Others()
    assert others.seen(5, 3, 0.0) is None
    assert others.seen(5, 3, PATIENCE_SECONDS - 1) is None
    assert others.seen(None, 0, PATIENCE_SECONDS) is None  # nothing heard says nothing
    assert others.seen(5, 3, PATIENCE_SECONDS) == 2
    assert others.seen(5, 3, 10 * PATIENCE_SECONDS) is None
    assert others.seen(3, 3, 11 * PATIENCE_SECONDS) is None  # gone: what comes after is news
    assert others.seen(4, 3, 12 * PATIENCE_SECONDS) is None
    assert others.seen(4, 3, 13 * PATIENCE_SECONDS) == 1


def test_those_that_were_just_stopped_are_no_others() -> None:
    others = Others()
    assert [others.seen(3, 1, 0.0), others.seen(3, 1, 30.0), others.seen(1, 1, 60.0), others.seen(1, 1, 500.0)] == [
        None
    ] * 4
