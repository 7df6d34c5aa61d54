"""Where the agents put what they do not keep."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from embedwatch.errors import ConfigError
from stream_agents.scratch import scratch_folder


def test_a_temporary_folder_is_of_one_process_and_one_user_and_goes_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder(None) as one, scratch_folder(None) as other:
        assert one != other
        assert one.parent == tmp_path
        assert stat.S_IMODE(one.stat().st_mode) == 0o700
        (one / "state").mkdir()
        (one / "state" / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="no"), scratch_folder(None):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_named_stays(tmp_path: Path) -> None:
    named = tmp_path / "a" / "b"
    for _ in range(2):
        with scratch_folder(named) as folder:
            (folder / "file").write_text("x")
    assert (named / "file").exists()


def test_a_place_where_nothing_can_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"file/a cannot be made: Not a directory; .*agents\.data_dir"):
        scratch_folder(tmp_path / "file" / "a").__enter__()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"no temporary folder can be made: No such file or directory; .*TMPDIR"):
        scratch_folder(None).__enter__()
