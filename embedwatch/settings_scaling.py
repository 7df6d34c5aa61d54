"""Settings of scaling (section `scaling`): what is aimed at and within which limits. `embedwatch.scaling.aims` makes
the policy's aims of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Self

from pydantic import Field, model_validator

from embedwatch.section import Section


class ScalingSettings(Section):
    enabled: bool = Field(True, description="decide how many workers are needed, and tell; others act on it")
    interval_seconds: float = Field(5.0, ge=0.5, le=60, description="how often it is decided")
    target_seconds: float = Field(30.0, gt=0, le=86_400, description="how long a text may wait in the queue")
    min_workers: int = Field(1, ge=0, le=10_000, description="never fewer; 0: none while there is nothing to do")
    max_workers: int = Field(10, ge=1, le=10_000, description="never more")
    slots: int | None = Field(
        None, ge=1, le=10_000, description="places for workers there are, such as GPUs; never more workers than that"
    )
    max_usd_per_hour: Decimal | None = Field(
        None, gt=0, le=1_000_000, description="never more workers than that buys at pricing.gpu_usd_per_hour each"
    )
    utilization_pct: float = Field(
        90.0, gt=0, le=100, description="a worker is added when those there are would be busier than this"
    )
    down_pct: float = Field(
        80.0, gt=0, le=100, description="a worker is taken away only when the others would not be busier than this"
    )
    hold_seconds: float = Field(
        60.0, ge=0, le=86_400, description="fewer workers only after they were enough for so long, or for a warm-up"
    )
    idle_seconds: float = Field(
        120.0, ge=0, le=86_400, description="with nothing to do for so long, min_workers will do"
    )
    warm_up_seconds: float = Field(
        30.0, ge=0, le=3600, description="from a worker's start to its first text, until it was measured here"
    )
    failing_pct: float = Field(
        50.0, gt=0, le=100, description="share of failed texts above which nothing is changed: more would fail, too"
    )
    silent_seconds: float = Field(
        20.0, ge=2, le=600, description="a worker not heard of for so long is not counted; above its heartbeat_seconds"
    )
    worker_texts_per_s: float | None = Field(
        None,
        gt=0,
        description="texts/s of a busy worker; measured by default; set it for an endpoint that answers slowly but "
        "takes many texts at once",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError(f"min_workers is {self.min_workers}, above max_workers, which is {self.max_workers}")
        if self.down_pct > self.utilization_pct:
            raise ValueError(
                f"down_pct is {self.down_pct:g}, above utilization_pct, which is {self.utilization_pct:g}: workers "
                "would come and go"
            )
        return self
