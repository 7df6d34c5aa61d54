from __future__ import annotations

import logging

import pytest

from embedwatch.errors import ConfigError
from embedwatch.sdk.datadog import datadog_sink
from tests.harness.calls import CALL
from tests.harness.otlp_receiver import OtlpReceiver

DELTA = 1


def plain(attributes) -> dict:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def test_the_agent_is_sent_spans_and_deltas_with_the_name_of_the_service():
    with OtlpReceiver() as agent:
        sink = datadog_sink("search", endpoint=agent.url, env="prod", version="7", export_seconds=3600)
        try:
            sink.record(CALL)
            assert sink.flush(10)
            sink.record(CALL)
        finally:
            sink.close(10)
        resources = [each.resource for request in agent.traces for each in request.resource_spans]
        assert {plain(resource.attributes)["service.name"] for resource in resources} == {"search"}
        resource = plain(resources[0].attributes)
        assert (resource["deployment.environment.name"], resource["service.version"]) == ("prod", "7")
        spans = [
            span
            for request in agent.traces
            for each in request.resource_spans
            for scope in each.scope_spans
            for span in scope.spans
        ]
        assert [span.name for span in spans] == ["embeddings text-embedding-3-small"] * 2
        assert plain(spans[0].attributes)["gen_ai.usage.input_tokens"] == 700
        found = [
            metric
            for request in agent.metrics
            for each in request.resource_metrics
            for scope in each.scope_metrics
            for metric in scope.metrics
        ]
        durations = [metric.histogram for metric in found if metric.name == "gen_ai.client.operation.duration"]
        assert [histogram.aggregation_temporality for histogram in durations] == [DELTA, DELTA]
        assert [histogram.data_points[0].count for histogram in durations] == [1, 1]
        costs = [metric.sum for metric in found if metric.name == "embedwatch.cost_usd"]
        assert [point.as_double for each in costs for point in each.data_points] == pytest.approx([14e-6, 14e-6])


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in ("DD_SERVICE", "DD_ENV", "DD_VERSION", "DD_AGENT_HOST", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_it_reads_what_the_libraries_of_datadog_read(monkeypatch):
    for name, value in {"DD_SERVICE": "billing", "DD_ENV": "test", "DD_AGENT_HOST": "127.0.0.2"}.items():
        monkeypatch.setenv(name, value)
    sink = datadog_sink(export_seconds=3600)
    try:
        assert sink._traces.resource.attributes["service.name"] == "billing"
        assert sink._traces.resource.attributes["deployment.environment.name"] == "test"
        (processor,) = sink._traces._active_span_processor._span_processors
        assert processor.span_exporter._endpoint == "http://127.0.0.2:4318/v1/traces"
    finally:
        sink.close(1)


def test_an_agent_that_is_not_there_costs_no_error(caplog):
    with OtlpReceiver() as gone:
        pass
    with caplog.at_level(logging.CRITICAL):
        sink = datadog_sink("search", endpoint=gone.url, export_seconds=3600, timeout_seconds=0.2)
        sink.record(CALL)
        sink.close(1)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "grpc://agent:4317", "http://"])
def test_an_endpoint_that_is_no_address_is_refused(endpoint):
    with pytest.raises(ConfigError, match="4318"):
        datadog_sink("search", endpoint=endpoint)
