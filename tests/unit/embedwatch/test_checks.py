"""`embedwatch check`: one line for each thing, and no check that fails stops the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from embedwatch import checks
from embedwatch.agents_api import AgentsApi
from embedwatch.checks import FIXES, Check, guarded, run_all
from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.processes import free_port
from embedwatch.settings import (
    AgentSettings,
    CacheSettings,
    KafkaSettings,
    ScalingSettings,
    Settings,
    WorkerSettings,
)
from tests.harness.agents_web import busy_runtime


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
    assert set(found) == {"rules", "scaling", "kafka", "cache", "disk", "model", "slack", "agents"}
    assert {name for name, check in found.items() if check.state == "failed"} == {"kafka", "cache", "model", "agents"}
    assert (found["rules"].state, found["slack"].state) == ("ok", "skipped")
    assert "nothing listens there" in found["kafka"].detail
    assert "embedwatch agents" in found["agents"].detail
    assert "no-such-model" in found["model"].detail
    assert all(bool(check.exit_code) == (check.state == "failed") for check in found.values())
    assert all(check.fix for check in found.values() if check.state == "failed")
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


# --- what mends it ---


def scaled(scaling: dict[str, Any], worker: dict[str, Any] | None = None) -> Check:
    settings = Settings(scaling=ScalingSettings(**scaling), worker=WorkerSettings(**(worker or {})))
    (found,) = guarded("scaling", checks._scaling, settings)
    return found


def test_aims_that_nothing_can_be_held_to_are_told_here_and_not_by_agents_that_do_not_start() -> None:
    found = scaled({"max_usd_per_hour": 5})
    assert (found.state, found.exit_code) == ("failed", 2)
    assert "pricing.gpu_usd_per_hour" in found.detail


@pytest.mark.parametrize(
    ("host", "token", "told"),
    [("127.0.0.1", None, False), ("::1", None, False), ("localhost", None, False), ("0.0.0.0", None, True),
     ("::", None, True), ("0.0.0.0", "0123456789abcdef", False)],
)  # fmt: skip
def test_an_api_that_everybody_may_ask_is_told(host: str, token: str | None, told: bool) -> None:
    agents = AgentSettings(web_host=host, web_port=free_port(), web_token=token)  # type: ignore[arg-type]
    found = [check.state for check in _agents_checks(Settings(agents=agents)) if check.name == "agents access"]
    assert found == (["warning"] if told else [])


def _agents_checks(settings: Settings) -> list[Check]:
    return list(guarded("agents", checks._agents, settings))


@pytest.mark.parametrize(
    ("silent", "beat", "state"), [(20, 2, "ok"), (6, 2, "ok"), (5, 2, "warning"), (3, 2, "warning"), (2, 2, "failed")]
)
def test_a_worker_must_be_heard_of_several_times_before_it_counts_as_silent(
    silent: float, beat: float, state: str
) -> None:
    found = scaled({"silent_seconds": silent}, {"heartbeat_seconds": beat})
    assert found.state == state
    assert (f"EMBEDWATCH_SCALING_SILENT_SECONDS={3 * beat:g}" in found.fix) == (state != "ok")


def test_a_full_disk_is_told_with_the_variable_that_names_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings(agents=AgentSettings(data_dir=tmp_path / "none"))
    roomy, missing = guarded("disk", checks._disk, settings)
    assert (roomy.name, missing.state) == ("disk", "skipped")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    temporary, own = guarded("disk", checks._disk, settings)
    assert (temporary.state, own.state) == ("warning", "warning")
    assert "TMPDIR" in temporary.fix
    assert "EMBEDWATCH_AGENTS_DATA_DIR" in own.fix


@pytest.mark.parametrize(
    ("theirs", "state", "words"),
    [
        (100.0, "ok", ""), (98.0, "ok", ""), (106.0, "ok", ""), (160.0, "warning", "59 s ahead of"),
        (40.0, "warning", "60 s behind"), (None, "skipped", "do not say"),
    ],
)  # fmt: skip
def test_a_clock_that_differs_from_the_agents_is_told(theirs: float | None, state: str, words: str) -> None:
    found = checks._clock(theirs, 100.0, 101.0)
    assert found.state == state
    assert words in found.detail
    assert bool(found.fix) == (state == "warning")


def test_agents_are_asked_for_readiness_clock_version_and_page(serve: Any) -> None:
    port = int(serve(busy_runtime()).rpartition(":")[2])
    settings = Settings(agents=AgentSettings(web_port=port))
    found = {check.name: check for check in guarded("agents", checks._agents, settings)}
    assert found["version"].state == "ok"
    assert found["agents"].state == "ok"
    # The made agents live at a fixed time.
    assert found["clock"].state == "warning"
    assert found["page"].state == "ok"


def test_agents_of_another_version_are_told() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"info": {"version": "9.9.9"}})

    with AgentsApi("http://agents:6066", transport=httpx.MockTransport(answer)) as api:
        found = checks._version(api)
    assert (found.state, found.exit_code) == ("warning", 0)
    assert "the agents are embedwatch 9.9.9, this is" in found.detail
    assert found.fix


def test_what_fails_or_will_hurt_gets_the_fix_of_its_name_unless_it_says_a_better_one() -> None:
    given = [Check("cache", "failed", "x", 4), Check("cache", "warning", "x", fix="mine"), Check("cache", "ok", "x")]
    assert [check.fix for check in guarded("cache", lambda _: given, Settings())] == [FIXES["cache"], "mine", ""]
