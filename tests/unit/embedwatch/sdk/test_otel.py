from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, server_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import SpanKind, StatusCode

from embedwatch.sdk.bounds import Bounds
from embedwatch.sdk.sink_otel import LATEST, OPT_IN, SECONDS_BUCKETS, TOKENS_BUCKETS, OpenTelemetrySink
from tests.harness.calls import CALL, FAILED, UNPRICED, call


class World:
    def __init__(self, **arguments) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.traces = TracerProvider(shutdown_on_exit=False)
        self.traces.add_span_processor(SimpleSpanProcessor(self.spans))
        self.metrics = MeterProvider([self.reader], shutdown_on_exit=False)
        self.sink = OpenTelemetrySink(self.traces, self.metrics, **arguments)

    def span(self):
        (span,) = self.spans.get_finished_spans()
        return span

    def points(self, name: str):
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


def test_a_call_is_a_span_with_its_own_times():
    world = World()
    world.sink.record(CALL)
    span = world.span()
    assert span.name == "embeddings text-embedding-3-small"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert span.start_time == 1_764_158_400_250_000_000
    assert span.end_time - span.start_time == 200_000_000
    assert span.parent is None
    attributes = dict(span.attributes)
    assert {name: value for name, value in attributes.items() if not name.startswith("embedwatch.")} == {
        gen_ai_attributes.GEN_AI_OPERATION_NAME: "embeddings",
        gen_ai_attributes.GEN_AI_SYSTEM: "openai",
        gen_ai_attributes.GEN_AI_REQUEST_MODEL: "text-embedding-3-small",
        gen_ai_attributes.GEN_AI_RESPONSE_MODEL: "text-embedding-3-small",
        gen_ai_attributes.GEN_AI_USAGE_INPUT_TOKENS: 700,
        gen_ai_attributes.GEN_AI_EMBEDDINGS_DIMENSION_COUNT: 256,
        gen_ai_attributes.GEN_AI_REQUEST_ENCODING_FORMATS: ("base64",),
        server_attributes.SERVER_ADDRESS: "api.openai.com",
        server_attributes.SERVER_PORT: 443,
    }
    assert attributes["embedwatch.cost_usd"] == pytest.approx(0.000014)
    assert attributes["embedwatch.cache.hits"] == 2
    assert attributes["embedwatch.phase.cache_lookup_seconds"] == 0.05


def test_the_parent_is_the_span_of_the_caller_at_the_beginning():
    world = World()
    tracer = world.traces.get_tracer("caller")
    with tracer.start_as_current_span("request") as outer:
        context = world.sink.begin()
    world.sink.record(call(contexts={"opentelemetry": context}))
    span = next(span for span in world.spans.get_finished_spans() if span.name != "request")
    assert span.parent.span_id == outer.get_span_context().span_id


def test_a_span_open_in_the_recording_thread_is_no_parent():
    world = World()
    with world.traces.get_tracer("other").start_as_current_span("unrelated"):
        world.sink.record(CALL)
    span = next(span for span in world.spans.get_finished_spans() if span.name != "unrelated")
    assert span.parent is None


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_the_newer_names_are_opted_in(how, monkeypatch):
    if how == "variable":
        monkeypatch.setenv(OPT_IN, f"http, {LATEST}")
    world = World(latest=True) if how == "argument" else World()
    world.sink.record(call(provider="x_ai"))
    assert world.span().attributes[gen_ai_attributes.GEN_AI_PROVIDER_NAME] == "x_ai"
    assert gen_ai_attributes.GEN_AI_SYSTEM not in world.span().attributes


def test_the_older_names_are_the_default_also_where_another_category_is_opted_in(monkeypatch):
    monkeypatch.setenv(OPT_IN, "http/dup,database")
    world = World()
    world.sink.record(call(provider="x_ai"))
    assert world.span().attributes[gen_ai_attributes.GEN_AI_SYSTEM] == "xai"


def test_a_failure_says_its_class_and_no_message():
    world = World()
    world.sink.record(FAILED)
    span = world.span()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert span.attributes[error_attributes.ERROR_TYPE] == "RateLimitError"
    assert gen_ai_attributes.GEN_AI_USAGE_INPUT_TOKENS not in span.attributes
    assert "embedwatch.cost_usd" not in span.attributes
    (point,) = world.points("gen_ai.client.operation.duration")
    assert point.attributes[error_attributes.ERROR_TYPE] == "rate_limited"
    assert world.points("embedwatch.errors")[0].value == 4
    assert world.points("gen_ai.client.token.usage") == []


def test_metrics_have_the_names_and_buckets_that_the_conventions_advise():
    world = World()
    world.sink.record(CALL)
    (seconds,) = world.points(gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION)
    assert (seconds.count, seconds.sum) == (1, 0.2)
    assert tuple(seconds.explicit_bounds) == SECONDS_BUCKETS
    (tokens,) = world.points(gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE)
    assert tokens.sum == 700
    assert tuple(tokens.explicit_bounds) == TOKENS_BUCKETS
    assert tokens.attributes[gen_ai_attributes.GEN_AI_TOKEN_TYPE] == "input"
    assert world.points("embedwatch.cost_usd")[0].value == pytest.approx(0.000014)
    assert world.points("embedwatch.cost_usd")[0].attributes["embedwatch.tenant"] == "acme"
    assert world.points("embedwatch.cache.hits")[0].value == 2


def test_estimated_tokens_are_no_usage_and_no_price_is_no_cost():
    world = World()
    world.sink.record(UNPRICED)
    attributes = world.span().attributes
    assert attributes["embedwatch.estimated_tokens"] == 700
    assert gen_ai_attributes.GEN_AI_USAGE_INPUT_TOKENS not in attributes
    assert "embedwatch.cost_usd" not in attributes
    assert attributes[gen_ai_attributes.GEN_AI_SYSTEM] == "_OTHER"
    assert world.points("gen_ai.client.token.usage") == []
    assert world.points("embedwatch.cost_usd") == []
    assert world.points("embedwatch.unpriced_tokens")[0].value == 700


def test_attributes_of_metrics_are_bounded():
    world = World(bounds=Bounds(max_models=2))
    for number in range(9):
        world.sink.record(call(model=f"model-{number}", response_model=f"model-{number}"))
    models = {point.attributes["gen_ai.request.model"] for point in world.points("gen_ai.client.operation.duration")}
    assert models == {"model-0", "model-1", "other"}
    assert {span.name for span in world.spans.get_finished_spans()} >= {"embeddings model-8"}


def test_models_of_answers_servers_and_phases_are_bounded_too():
    world = World(bounds=Bounds(max_models=3, max_servers=2, max_phases=4))
    for number in range(9):
        world.sink.record(
            call(
                response_model=f"answer-{number}",
                server_address=f"host-{number}",
                server_port=8000 + number,
                phase_seconds={f"phase-{number}": 0.1, f"more-{number}": 0.2},
            )
        )
    points = world.points("gen_ai.client.operation.duration")
    assert {point.attributes["gen_ai.response.model"] for point in points} == {
        "answer-0",
        "answer-1",
        "answer-2",
        "other",
    }
    assert {(point.attributes["server.address"], point.attributes.get("server.port")) for point in points} == {
        ("host-0", 8000), ("host-1", 8001), ("other", None),
    }  # fmt: skip
    spans = world.spans.get_finished_spans()
    assert {span.attributes["server.address"] for span in spans} == {f"host-{number}" for number in range(9)}
    phases = {name for span in spans for name in span.attributes if name.startswith("embedwatch.phase.")}
    assert phases == {
        f"embedwatch.phase.{name}_seconds" for name in ("phase-0", "more-0", "phase-1", "more-1", "other")
    }
    assert spans[-1].attributes["embedwatch.phase.other_seconds"] == pytest.approx(0.3)


def test_combinations_of_answers_are_bounded():
    world = World(bounds=Bounds(max_sets=5))
    for number in range(9):
        world.sink.record(call(server_address=f"host-{number % 3}", response_model=f"answer-{number}"))
    points = world.points("gen_ai.client.operation.duration")
    assert len(points) == 6
    assert sum(point.attributes["server.address"] == "other" for point in points) == 1


def test_providers_of_the_caller_stay_open_and_those_of_the_sink_end():
    world = World()
    world.sink.record(CALL)
    assert world.sink.flush(5)
    world.sink.close(5)
    with world.traces.get_tracer("caller").start_as_current_span("after"):
        pass
    assert "after" in {span.name for span in world.spans.get_finished_spans()}
    own = World(owned=True)
    own.sink.record(CALL)
    own.sink.close(5)
    own.spans.clear()
    with own.traces.get_tracer("caller").start_as_current_span("after"):
        pass
    assert own.spans.get_finished_spans() == ()


def test_without_an_sdk_nothing_happens():
    sink = OpenTelemetrySink(trace.NoOpTracerProvider())
    sink.record(CALL)
    assert sink.flush(1)
    sink.close(1)
