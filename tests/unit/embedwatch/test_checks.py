"""`embedwatch check`: one line for each thing, and no check that fails stops the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from embedwatch.checks import Check, guarded, run_all
from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.processes import free_port
from embedwatch.settings import AgentSettings, CacheSettings, KafkaSettings, Settings, WorkerSettings


@pytest.fixture
def nothing_runs() -> Settings:
    return Settings(
        kafka=KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}", connect_timeout_seconds=0.3),
        cache=CacheSettings(url=f"redis://user:hidden@127.0.0.1:{free_port()}/0"),  # type: ignore[arg-type]
        agents=AgentSettings(web_port=free_port()),
        worker=WorkerSettings(model="no-such-model"),
    )


def test_every_part_has_a_line_and_what_is_missing_says_what_to_do(nothing_runs: Settings) -> None:
    found = {check.name: check for check in run_all(nothing_runs)}
    assert set(found) == {"rules", "kafka", "cache", "model", "slack", "agents"}
    assert {name for name, check in found.items() if check.state == "failed"} == {"kafka", "cache", "model", "agents"}
    assert (found["rules"].state, found["slack"].state) == ("ok", "skipped")
    assert "nothing listens there" in found["kafka"].detail
    assert "embedwatch agents" in found["agents"].detail
    assert "no-such-model" in found["model"].detail
    assert all(bool(check.exit_code) == (check.state == "failed") for check in found.values())
    assert "hidden" not in str(found)


def raising(error: Exception) -> Iterable[Check]:
    def check(_: Settings) -> Iterator[Check]:
        yield Check("first", "ok", "")
        raise error

    return guarded("second", check, Settings())


def test_a_check_that_raises_has_failed_with_the_exit_code_of_its_error() -> None:
    assert list(raising(ConfigError("two\nlines"))) == [
        Check("first", "ok", ""), Check("second", "failed", "two lines", 2)
    ]  # fmt: skip
    assert list(raising(ConnectionFailed("x")))[-1].exit_code == 4


def test_a_stage_that_is_not_installed_here_is_skipped() -> None:
    missing = ModuleNotFoundError("No module named 'slack_sdk'", name="slack_sdk")
    assert list(raising(missing))[-1] == Check("second", "skipped", "slack_sdk is not installed here")
