"""deploy/keda against what the agents really answer, and its page against the files."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from embedwatch.events import ScalingEvent
from embedwatch.settings import load
from stream_agents.runtime import Runtime
from tests.harness.agents_log import NOW
from tests.harness.agents_web import busy_runtime, serving

FILES = ("desired-workers.yaml", "lag-seconds.yaml", "prometheus-desired-workers.yaml", "prometheus-lag-seconds.yaml")
#: By `apis/keda/v1alpha1` of KEDA, and its triggers.
SPEC = {
    "scaleTargetRef", "pollingInterval", "initialCooldownPeriod", "cooldownPeriod", "idleReplicaCount",
    "minReplicaCount", "maxReplicaCount", "advanced", "triggers", "fallback",
}  # fmt: skip
METADATA = {
    "metrics-api": {"url", "valueLocation", "targetValue", "activationTargetValue"},
    "prometheus": {"serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues"},
}


def spec_of(root: Path, name: str) -> dict[str, Any]:
    (document,) = yaml.safe_load_all((root / "deploy" / "keda" / name).read_text(encoding="utf-8"))
    assert (document["apiVersion"], document["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    spec: dict[str, Any] = document["spec"]
    return spec


def trigger_of(root: Path, name: str) -> dict[str, Any]:
    (trigger,) = spec_of(root, name)["triggers"]
    found: dict[str, Any] = trigger
    return found


def ask(runtime: Runtime, path: str) -> str:
    async def asking() -> str:
        async with serving(runtime) as client, client.get(path) as response:
            assert response.status == 200
            return await response.text()

    return asyncio.run(asking())


def held_runtime() -> Runtime:
    """As the busy one, and then the queue stands still."""
    runtime = busy_runtime()
    runtime.world.apply_scaling(
        ScalingEvent(
            event_id="s2",
            time_seconds=NOW + 0.5,
            group="g",
            topic="t",
            desired_workers=0,
            wanted_workers=0,
            workers=0,
            cause="stalled",
            reason="no commit",
        )
    )
    return runtime


def reads(runtime: Runtime, trigger: dict[str, Any]) -> float | None:
    """What KEDA would read; None where its trigger fails."""
    metadata = trigger["metadata"]
    if trigger["type"] == "metrics-api":
        path = "/" + metadata["url"].partition("://")[2].partition("/")[2]
        value = json.loads(ask(runtime, path))[metadata["valueLocation"]]  # the field must be there
        assert value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        return value
    wanted = re.fullmatch(r"max\((\w+)\)", metadata["query"])
    assert wanted is not None
    families = list(text_string_to_metric_families(ask(runtime, "/metrics")))
    assert wanted[1] in {family.name for family in families}
    values = [sample.value for family in families for sample in family.samples if sample.name == wanted[1]]
    return max(values, default=None)


def test_every_file_is_looked_at_here(root: Path) -> None:
    assert tuple(sorted(path.name for path in (root / "deploy" / "keda").glob("*.yaml"))) == FILES


@pytest.mark.parametrize("name", FILES)
def test_the_number_is_where_the_trigger_looks_for_it(root: Path, name: str) -> None:
    trigger = trigger_of(root, name)
    assert reads(busy_runtime(), trigger) == (4 if "desired" in name else 90.0)


@pytest.mark.parametrize("name", [name for name in FILES if "desired" in name])
def test_where_nothing_may_be_decided_the_trigger_fails_and_reads_no_0(root: Path, name: str) -> None:
    trigger = trigger_of(root, name)
    assert reads(held_runtime(), trigger) is None
    assert trigger["metadata"].get("ignoreNullValues", "false") == "false"


@pytest.mark.parametrize("name", FILES)
def test_fields_are_those_of_keda_and_text_where_it_wants_text(root: Path, name: str) -> None:
    spec, trigger = spec_of(root, name), trigger_of(root, name)
    assert set(spec) <= SPEC
    assert set(trigger) == {"type", "metricType", "metadata"}
    assert set(trigger["metadata"]) == METADATA[trigger["type"]]
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    if trigger["type"] == "prometheus":
        assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert "fallback" not in spec, "it would act where the agents say that nothing may be decided"
    assert trigger["metricType"] == ("AverageValue" if "desired" in name else "Value")


@pytest.mark.parametrize("name", FILES)
def test_limits_and_target_are_those_of_the_settings(root: Path, name: str) -> None:
    spec, metadata, scaling = spec_of(root, name), trigger_of(root, name)["metadata"], load(environ={}).scaling
    assert spec["minReplicaCount"] == scaling.min_workers
    assert spec["maxReplicaCount"] >= scaling.max_workers
    target = float(metadata.get("targetValue") or metadata["threshold"])
    assert target == (1 if "desired" in name else scaling.target_seconds)
    if "desired" in name:
        behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        # The policy has held and waited: nobody else is to.
        assert {part["stabilizationWindowSeconds"] for part in behaviour.values()} == {0}
        assert spec["cooldownPeriod"] == 0


def test_the_page_explains_every_field_and_names_every_file(root: Path) -> None:
    page = (root / "deploy" / "keda" / "README.md").read_text(encoding="utf-8")
    explained = {
        field for line in page.partition("## Each field")[2].splitlines() if line.startswith("| `")
        for field in re.findall(r"`([\w.]+)`", line.split("|")[1])
    }  # fmt: skip
    for name in FILES:
        assert f"({name})" in page
        spec, trigger = spec_of(root, name), trigger_of(root, name)
        fields = {field for field in spec if field not in ("scaleTargetRef", "advanced", "triggers")}
        fields |= {"metricType", *trigger["metadata"]} - {"url", "serverAddress"}
        for direction, part in spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"].items():
            fields |= {f"{direction}.{field}" for field in part}
        assert fields <= explained, name
