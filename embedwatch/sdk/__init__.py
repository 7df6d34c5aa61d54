"""The SDK: wrap an embedding client in one line, and see what it costs and how slow it is. Needs no Kafka.

    from embedwatch import Monitor

    monitor = Monitor("text-embedding-3-small")
    client = monitor.wrap(client)

What it holds is imported when it is asked for, so that nobody pays for a sink they do not use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedwatch.sdk.alerts import THRESHOLDS as THRESHOLDS
    from embedwatch.sdk.alerts import AlertSystem as AlertSystem
    from embedwatch.sdk.alerts import print_dashboard as print_dashboard
    from embedwatch.sdk.bounds import Bounds as Bounds
    from embedwatch.sdk.cache import CacheMetrics as CacheMetrics
    from embedwatch.sdk.cache import CacheSizeMonitor as CacheSizeMonitor
    from embedwatch.sdk.cache import analyze_cache_effectiveness as analyze_cache_effectiveness
    from embedwatch.sdk.call import Call as Call
    from embedwatch.sdk.call import Sink as Sink
    from embedwatch.sdk.context import CallContext as CallContext
    from embedwatch.sdk.costs import BudgetMonitor as BudgetMonitor
    from embedwatch.sdk.costs import CostTracker as CostTracker
    from embedwatch.sdk.costs import count_tokens as count_tokens
    from embedwatch.sdk.datadog import datadog_sink as datadog_sink
    from embedwatch.sdk.kafka import KafkaSink as KafkaSink
    from embedwatch.sdk.latency import DetailedLatencyTracker as DetailedLatencyTracker
    from embedwatch.sdk.latency import LatencyTracker as LatencyTracker
    from embedwatch.sdk.litellm_callback import LiteLLMCallback as LiteLLMCallback
    from embedwatch.sdk.log import LogSink as LogSink
    from embedwatch.sdk.memory import EmbeddingMetrics as EmbeddingMetrics
    from embedwatch.sdk.memory import MemorySink as MemorySink
    from embedwatch.sdk.monitor import Monitor as Monitor
    from embedwatch.sdk.sink_otel import OpenTelemetrySink as OpenTelemetrySink
    from embedwatch.sdk.sink_prometheus import PrometheusSink as PrometheusSink

#: Where each name is.
NAMES = {
    "AlertSystem": "alerts",
    "Bounds": "bounds",
    "BudgetMonitor": "costs",
    "CacheMetrics": "cache",
    "CacheSizeMonitor": "cache",
    "Call": "call",
    "CallContext": "context",
    "CostTracker": "costs",
    "DetailedLatencyTracker": "latency",
    "EmbeddingMetrics": "memory",
    "KafkaSink": "kafka",
    "LatencyTracker": "latency",
    "LiteLLMCallback": "litellm_callback",
    "LogSink": "log",
    "MemorySink": "memory",
    "Monitor": "monitor",
    "OpenTelemetrySink": "sink_otel",
    "PrometheusSink": "sink_prometheus",
    "Sink": "call",
    "THRESHOLDS": "alerts",
    "analyze_cache_effectiveness": "cache",
    "count_tokens": "costs",
    "datadog_sink": "datadog",
    "print_dashboard": "alerts",
}

#: What to install for those that the base install cannot do.
EXTRAS = {
    "LiteLLMCallback": "litellm",
    "OpenTelemetrySink": "embedwatch[otel]",
    "PrometheusSink": "embedwatch[prometheus]",
    "datadog_sink": "embedwatch[otel]",
}


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{NAMES[name]}")
    except ModuleNotFoundError as error:
        if name not in EXTRAS:
            raise
        raise ImportError(
            f"{name} needs {error.name}, which is not installed here: pip install '{EXTRAS[name]}'"
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *NAMES})
