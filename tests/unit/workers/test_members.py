from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import ConfigError
from embedwatch.settings import Settings, load
from workers.members import as_environment, members, pool

SECRET = "redis://user:hunter2@cache:6379/0"
PRINTABLE = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=20)


def received(environ: Any) -> Settings:
    """The settings that a process with this environment has, also where its surroundings say something else."""
    around = {"EMBEDWATCH_CONFIG": "/no/such/file", "EMBEDWATCH_WORKER_PROCESSES": "7", "EMBEDWATCH_WORKER_NAME": "x"}
    return load(environ={name: value for name, value in {**around, **environ}.items() if value is not None})


def test_each_member_has_our_settings_but_its_own_name_and_share() -> None:
    settings = load(
        None,
        {"worker.processes": 2, "worker.name": "w", "worker.threads": 3, "cache.url": SECRET, "worker.device": "cpu"},
        {"EMBEDWATCH_PRICING_USD_PER_MILLION_TOKENS": '{"a": 0.1, "b": "0.20"}'},
    )
    for number, member in enumerate(members(settings), start=1):
        assert member.name == f"w-{number}"
        own = settings.worker.model_copy(update={"name": member.name, "processes": 1})
        assert received(member.environ) == settings.model_copy(update={"worker": own})
        assert "CUDA_VISIBLE_DEVICES" not in member.environ


def test_a_secret_is_on_no_command_line_and_in_no_message() -> None:
    (member, _) = members(load(None, {"worker.processes": 2, "cache.url": SECRET}, {}))
    assert "hunter2" not in " ".join(member.command)
    assert "hunter2" not in repr(member)


def test_a_member_on_a_gpu_sees_that_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.visible_gpus.find", lambda: ["GPU-a", "GPU-b"])
    found = members(load(None, {"worker.processes_per_gpu": 1}, {}))
    assert [member.environ["CUDA_VISIBLE_DEVICES"] for member in found] == ["GPU-a", "GPU-b"]
    workers = [received(member.environ).worker for member in found]
    assert {worker.device for worker in workers} == {"cuda"}
    # A member is one process, whatever our own environment says.
    assert {(worker.processes, worker.processes_per_gpu) for worker in workers} == {(1, None)}


def test_one_process_has_no_members() -> None:
    assert members(Settings()) == []


def test_a_pool_has_a_member_for_every_place_also_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.members.cpu_quota", lambda: 6)
    monkeypatch.setattr("workers.visible_gpus.find", lambda: ["GPU-a", "GPU-b"])
    settings = load(None, {"worker.name": "w"}, {})
    ((slot, member),) = pool(settings, 1)
    assert (slot.name, member.name, received(member.environ).worker.name) == ("w-1", "w-1", "w-1")
    assert len(pool(settings, None)) == 6
    on_gpus = load(None, {"worker.name": "w", "worker.processes_per_gpu": 2}, {})
    assert [slot.gpu for slot, _ in pool(on_gpus, None)] == ["GPU-a", "GPU-b", "GPU-a", "GPU-b"]


@given(
    password=PRINTABLE,
    prices=st.dictionaries(PRINTABLE, st.decimals(0, 1000, places=9), max_size=3),
    idle=st.none() | st.floats(1e-9, 1e9),
    folder=st.none() | PRINTABLE,
    console=st.booleans(),
    digest=st.sampled_from(("off", "09:00", "17:30:15")),
)
def test_settings_come_out_of_the_environment_as_they_went_in(
    password: str, prices: dict[str, Decimal], idle: float | None, folder: str | None, console: bool, digest: str
) -> None:
    settings = Settings.model_validate(
        {
            "kafka": {"sasl_password": password},
            "pricing": {"usd_per_million_tokens": prices},
            "worker": {"idle_exit_seconds": idle},
            "agents": {"data_dir": folder},
            "alerts": {"console": console, "digest_at": digest},
        }
    )
    assert received(as_environment(settings)) == settings


def test_a_value_that_no_variable_can_hold_is_told_by_its_name() -> None:
    settings = Settings.model_validate({"kafka": {"sasl_username": ""}})
    with pytest.raises(ConfigError, match=r"kafka\.sasl_username"):
        as_environment(settings)


def test_the_process_that_watches_loads_neither_a_model_nor_a_client() -> None:
    code = (
        "import sys; import workers.cli, workers.members, workers.crew, workers.autoscale.hands; "
        "heavy = {'torch', 'kafka', 'redis', 'sentence_transformers', 'pynvml', 'numpy'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=root)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_each_member_answers_at_a_port_of_its_own() -> None:
    settings = load(None, {"worker.processes": 3, "worker.metrics_port": 9100}, {})
    assert [received(member.environ).worker.metrics_port for member in members(settings)] == [9100, 9101, 9102]
    assert [received(member.environ).worker.metrics_port for _, member in pool(settings, 2)] == [9100, 9101]
    anywhere = load(None, {"worker.processes": 2, "worker.metrics_port": 0}, {})
    assert [received(member.environ).worker.metrics_port for member in members(anywhere)] == [0, 0]
    off = load(None, {"worker.processes": 2}, {})
    assert [received(member.environ).worker.metrics_port for member in members(off)] == [None, None]


def test_ports_beyond_the_last_one_are_refused() -> None:
    settings = load(None, {"worker.processes": 3, "worker.metrics_port": 65_534}, {})
    with pytest.raises(ConfigError, match="65534: 3 workers need as many ports"):
        members(settings)
