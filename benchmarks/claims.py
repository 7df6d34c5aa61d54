"""What is claimed, what was measured, and whether it holds. Pure but for writing the file."""

from __future__ import annotations

import json
import operator
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Bound = Literal["at_least", "at_most"]
_HOLDS = {"at_least": operator.ge, "at_most": operator.le}


@dataclass(frozen=True, slots=True)
class Claim:
    """`target` is None where something is only reported."""

    id: str
    claim: str
    unit: str
    target: float | None
    bound: Bound = "at_least"


@dataclass(frozen=True, slots=True)
class Result:
    """One measured claim. `peers` are the numbers behind it, `spread` the lowest and highest of the repetitions."""

    claim: Claim
    value: float
    spread: tuple[float, float]
    peers: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, claim: Claim, values: Sequence[float], **peers: float) -> Result:
        """The median of the repetitions."""
        return cls(claim, statistics.median(values), (min(values), max(values)), peers)

    @property
    def holds(self) -> bool | None:
        """None where there is no target."""
        if self.claim.target is None:
            return None
        return bool(_HOLDS[self.claim.bound](self.value, self.claim.target))

    def as_json(self, on: str) -> dict[str, Any]:
        claim = asdict(self.claim)
        return {
            "id": claim.pop("id"), "claim": claim.pop("claim"), "value": self.value, **claim,
            "holds": self.holds, "spread": list(self.spread), "peers": self.peers, "on": on,
        }  # fmt: skip


def machine() -> str:
    """Processor and the cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, Python {platform.python_version()}"


def write(results: Sequence[Result], path: Path, on: str) -> None:
    """Keeps what an earlier run measured of other claims."""
    try:
        kept = {entry["id"]: entry for entry in json.loads(path.read_text())}
    except (OSError, ValueError):
        kept = {}
    kept |= {result.claim.id: result.as_json(on) for result in results}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(kept.values()), indent=2) + "\n")
