"""Every block of Python on the page of adapters and sinks runs as it stands, against loopback servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from embedwatch.sdk.sink_prometheus import PrometheusSink
from tests.harness.calls import CALL, FAILED, UNPRICED
from tests.harness.embedding_api import EmbeddingApi
from tests.harness.otlp_receiver import OtlpReceiver
from tests.harness.requirements import need_model

PAGE = (Path(__file__).parents[4] / "docs/reference/sdk-adapters.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("block", BLOCKS, ids=[re.findall(r"^(?:from|import) (\w+)", block)[0] for block in BLOCKS])
def test_a_block_runs(block: str) -> None:
    if "sentence_transformers" in block:
        need_model()
    with EmbeddingApi() as api, OtlpReceiver() as receiver:
        if "our-deployment" in block:
            api.answers_as = "text-embedding-3-small"
        env = {
            **os.environ,
            "OPENAI_BASE_URL": api.url,
            "OPENAI_API_KEY": "k",
            "AZURE_OPENAI_ENDPOINT": api.url.removesuffix("/v1"),
            "AZURE_OPENAI_API_KEY": "k",
            "OPENAI_API_VERSION": "2024-10-21",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        done = subprocess.run([sys.executable, "-c", block], env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        if "datadog_sink" in block:
            assert receiver.traces
            assert receiver.metrics
        elif "from openai" in block or "litellm.embedding" in block:
            assert api.seen


def test_the_page_names_every_series() -> None:
    registry = CollectorRegistry()
    for call in (CALL, FAILED, UNPRICED):
        PrometheusSink(registry).record(call)
    for family in registry.collect():
        suffix = "_total" if family.type == "counter" else ""
        assert f"`{family.name}{suffix}`" in PAGE, family.name
