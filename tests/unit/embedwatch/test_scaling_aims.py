"""Settings of scaling: what they become, and what is refused at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedwatch.errors import ConfigError
from embedwatch.scaling.aims import aims_of
from embedwatch.scaling.policy import Aims
from embedwatch.settings import load


def test_the_defaults_are_those_of_the_policy() -> None:
    assert aims_of(load(environ={})) == Aims()


def test_environment_and_price_of_a_worker_reach_the_policy() -> None:
    environ = {
        "EMBEDWATCH_SCALING_TARGET_SECONDS": "5", "EMBEDWATCH_SCALING_MIN_WORKERS": "0",
        "EMBEDWATCH_SCALING_MAX_WORKERS": "40", "EMBEDWATCH_SCALING_SLOTS": "8",
        "EMBEDWATCH_SCALING_MAX_USD_PER_HOUR": "10", "EMBEDWATCH_SCALING_HOLD_SECONDS": "90",
        "EMBEDWATCH_SCALING_WARM_UP_SECONDS": "12", "EMBEDWATCH_SCALING_IDLE_SECONDS": "30",
        "EMBEDWATCH_SCALING_UTILIZATION_PCT": "85", "EMBEDWATCH_SCALING_DOWN_PCT": "70",
        "EMBEDWATCH_SCALING_FAILING_PCT": "20", "EMBEDWATCH_PRICING_GPU_USD_PER_HOUR": "2.5",
    }  # fmt: skip
    aims = aims_of(load(environ=environ))
    assert aims == Aims(
        target_seconds=5.0, min_workers=0, max_workers=40, slots=8, worker_usd_per_hour=2.5, max_usd_per_hour=10.0,
        utilization_pct=85.0, down_pct=70.0, hold_seconds=90.0, idle_seconds=30.0, warm_up_seconds=12.0,
        failing_pct=20.0,
    )  # fmt: skip
    assert aims.most(partitions=100) == (4, "budget")


@pytest.mark.parametrize("price", [None, "0"])
def test_a_limit_in_money_without_a_price_is_refused(price: str | None) -> None:
    environ = {"EMBEDWATCH_SCALING_MAX_USD_PER_HOUR": "10"}
    if price is not None:
        environ["EMBEDWATCH_PRICING_GPU_USD_PER_HOUR"] = price
    with pytest.raises(ConfigError, match=r"pricing\.gpu_usd_per_hour"):
        aims_of(load(environ=environ))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("min_workers: 5\n  max_workers: 4", "min_workers is 5, above max_workers, which is 4"),
        ("min_workers: 11", "min_workers is 11, above max_workers, which is 10"),
        ("down_pct: 95", "down_pct is 95, above utilization_pct, which is 90"),
        ("target_seconds: 0", "target_seconds"),
        ("max_worker: 3", "unknown setting 'scaling.max_worker'; did you mean max_workers?"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(tmp_path: Path, lines: str, words: str) -> None:
    path = tmp_path / "embedwatch.yaml"
    path.write_text(f"scaling:\n  {lines}\n")
    with pytest.raises(ConfigError) as refused:
        load(path, environ={})
    assert words in str(refused.value)
