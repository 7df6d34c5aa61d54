"""From settings to the policy's aims. Pure."""

from __future__ import annotations

from embedwatch.errors import ConfigError
from embedwatch.scaling.policy import Aims
from embedwatch.settings import Settings


def aims_of(settings: Settings) -> Aims:
    """Raises `ConfigError` for a limit in money that nothing can be held to."""
    scaling, price = settings.scaling, settings.pricing.gpu_usd_per_hour
    if scaling.max_usd_per_hour is not None and not price:
        raise ConfigError(
            "scaling.max_usd_per_hour needs the price of a worker: set pricing.gpu_usd_per_hour, above 0; without it "
            "nothing can be held to the limit"
        )
    return Aims(
        target_seconds=scaling.target_seconds,
        min_workers=scaling.min_workers,
        max_workers=scaling.max_workers,
        slots=scaling.slots,
        worker_usd_per_hour=None if price is None else float(price),
        max_usd_per_hour=None if scaling.max_usd_per_hour is None else float(scaling.max_usd_per_hour),
        utilization_pct=scaling.utilization_pct,
        down_pct=scaling.down_pct,
        hold_seconds=scaling.hold_seconds,
        idle_seconds=scaling.idle_seconds,
        warm_up_seconds=scaling.warm_up_seconds,
        failing_pct=scaling.failing_pct,
    )
