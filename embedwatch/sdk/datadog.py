"""Datadog without its tracer: spans and metrics over OTLP to the Datadog Agent, which hands them on.

The agent listens when `otlp_config.receiver.protocols.http.endpoint` is set in its datadog.yaml (or
DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT=0.0.0.0:4318). Any other OTLP receiver takes the same.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from embedwatch.errors import ConfigError
from embedwatch.sdk.bounds import Bounds
from embedwatch.sdk.sink_otel import OpenTelemetrySink

AGENT_PORT = 4318


def datadog_sink(
    service: str | None = None,
    *,
    endpoint: str | None = None,
    env: str | None = None,
    version: str | None = None,
    export_seconds: float = 10.0,
    timeout_seconds: float = 5.0,
    latest: bool | None = None,
    bounds: Bounds | None = None,
) -> OpenTelemetrySink:
    """A sink with providers of its own that send to the Datadog Agent, and end with the sink.

    What is not given comes from the variables that Datadog's own libraries read: DD_SERVICE, DD_ENV, DD_VERSION, and
    for the endpoint OTEL_EXPORTER_OTLP_ENDPOINT, else DD_AGENT_HOST (`http://host:4318`), else 127.0.0.1. An agent that
    does not answer costs nobody anything: what does not fit the bounded queue is dropped. Raises ConfigError for an
    endpoint that is no address.
    """
    endpoint = endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    base = (endpoint or f"http://{os.environ.get('DD_AGENT_HOST') or '127.0.0.1'}:{AGENT_PORT}").rstrip("/")
    if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).hostname:
        raise ConfigError("the endpoint of datadog_sink must be an address such as http://127.0.0.1:4318")
    attributes = {
        "service.name": service or os.environ.get("DD_SERVICE") or "embeddings",
        "deployment.environment.name": env or os.environ.get("DD_ENV"),
        "service.version": version or os.environ.get("DD_VERSION"),
    }
    resource = Resource.create({name: value for name, value in attributes.items() if value})
    traces = TracerProvider(resource=resource)
    traces.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=timeout_seconds))
    )
    # Datadog adds up deltas; of running totals it would have to guess where a process began anew.
    delta: dict[type, AggregationTemporality] = {
        Counter: AggregationTemporality.DELTA,
        Histogram: AggregationTemporality.DELTA,
    }
    exporter = OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=timeout_seconds, preferred_temporality=delta)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=export_seconds * 1000)
    meters = MeterProvider([reader], resource=resource)
    return OpenTelemetrySink(traces, meters, latest=latest, bounds=bounds, owned=True, name="datadog")
