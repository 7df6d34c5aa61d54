"""From running agents to a baseline file, and from a file to a verdict, by the commands that people use."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np

from embedwatch.baselines import read
from embedwatch.codec import decode_verdict
from embedwatch.events import BatchEvent, PhaseSeconds, Verdict
from embedwatch.settings import KafkaSettings
from embedwatch.sketch import Sketch
from tests.harness.agents import COMMAND, ROOT, Agents, until
from tests.harness.agents_log import batch_event
from tests.harness.kafka_io import read_topic


def batches(count: int, factor: float, start: int = 0) -> list[BatchEvent]:
    """20 texts each, at moments of the last seconds."""
    spread = np.random.default_rng(2).lognormal(4.6, 0.3, (count, 20)) * factor
    now = time.time()
    return [
        batch_event(
            start + n, time_seconds=now - n / 100, texts=20, misses=18, latency_sketch=Sketch.of(values).to_text(),
            phase_seconds=PhaseSeconds(embed=0.1 * factor, publish=0.01),
        )
        for n, values in enumerate(spread)
    ]  # fmt: skip


def test_a_slow_down_against_a_saved_baseline_is_a_verdict_and_an_exit_code(
    embedded_settings: KafkaSettings, tmp_path: Path
) -> None:
    agents = Agents(embedded_settings, tmp_path)

    def command(*arguments: str) -> int:
        url = f"http://127.0.0.1:{agents.port}"
        words = [*COMMAND, "baseline", *arguments, "--agents-url", url, "--dir", str(tmp_path / "baselines")]
        return subprocess.run(words, cwd=ROOT, timeout=60, check=False).returncode

    with agents.running() as child:
        agents.wait_ready(child)
        assert command("save", "v1") == 8  # nothing to save yet
        agents.send(batches(200, 1.0))
        agents.wait_texts(child, 4000)
        until(lambda: command("save", "v1") == 0, "a baseline")  # the same answer is given for 2 s
        assert command("diff", "v1") == 0
    kept = read(tmp_path / "baselines" / "v1.json")
    assert list(kept.scopes) == ["all", "model=m"]
    assert kept.scopes["all"].latency.count == 4000
    assert kept.scopes["all"].sample.independent == 200

    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{type: LATENCY_REGRESSION, baseline: v1, by: model}]\n")
    found: list[Verdict] = []

    def breached() -> bool:
        verdicts = [decode_verdict(record.value) for record in read_topic(agents.kafka, agents.topics.verdicts, 1)]
        found[:] = [v for v in verdicts if v.judgement == "breached" and v.alert_type == "LATENCY_REGRESSION"]
        return bool(found)

    with agents.running("--rules", rules) as child:
        agents.wait_ready(child)
        agents.send(batches(400, 2.0, start=1000))
        until(breached, "verdict")
        agents.wait_texts(child, 12_000)
        assert command("diff", "v1", "--window", "1m") == 1
        child.process.terminate()
        assert child.process.wait(20) == 0
    assert (found[0].scope, found[0].rule) == ({"model": "m"}, "latency_regression_pct")
    assert "times the baseline's" in found[0].reason
    assert [c.name for c in found[0].contributors] == ["embed"]
