"""Every block of Python on the SDK's page of the reference runs as it stands."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import embedwatch.sdk as sdk

PAGE = (Path(__file__).parents[4] / "docs/reference/sdk.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_runs(block: str) -> None:
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("with_it", [True, False])
def test_the_remedy_for_sigterm_sends_what_is_left(with_it: bool) -> None:
    (remedy,) = (block for block in BLOCKS if "SIGTERM" in block)
    script = f"""{remedy if with_it else "import signal"}
import os
from embedwatch import Monitor
from tests.harness.sdk import RecordingSink
class Printing(RecordingSink):
    def record(self, call): print("call", call.texts, flush=True)
    def close(self, timeout_seconds): print("closed", flush=True)
monitor = Monitor("m", [Printing()])
with monitor.call(3):
    pass
os.kill(os.getpid(), signal.SIGTERM)
signal.pause()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    if with_it:
        assert (done.returncode, done.stdout.split()) == (143, ["call", "3", "closed"])
    else:  # what the remedy is for
        assert done.returncode == -signal.SIGTERM
        assert "closed" not in done.stdout


def test_the_page_tells_the_keys_of_the_summary_and_the_public_names() -> None:
    for name in sdk.EmbeddingMetrics().summary():
        short = f"`_{name.removeprefix('latency_')}`"
        assert f"`{name}`" in PAGE or short in PAGE, name
    for name in ("LogSink", "MemorySink", "KafkaSink", "PrometheusSink", "OpenTelemetrySink", "datadog_sink"):
        assert f"`{name}" in PAGE, name


def test_every_public_name_is_there() -> None:
    for name in sdk.NAMES:
        assert getattr(sdk, name) is not None, name
    assert set(sdk.NAMES) <= set(dir(sdk))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = sdk.Nothing
