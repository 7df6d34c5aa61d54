"""Level 4 of the SDK: spans and metrics by OpenTelemetry's conventions for generative AI; Datadog by way of OTLP.

By default the attributes are those of the conventions up to 1.36 (`gen_ai.system`), which instrumentations are asked to
keep until told otherwise; OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental, or `latest=True`, gives those since
1.37 (`gen_ai.provider.name`) in place of them. Never the texts.

What the conventions have no name for is `embedwatch.*`. Tokens that were only estimated are no `gen_ai.usage`: the
conventions want what was billed there.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from embedwatch.events import NANO_USD_PER_USD
from embedwatch.sdk.bounds import OTHER, Bounds
from embedwatch.sdk.call import Call

OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"
LATEST = "gen_ai_latest_experimental"
#: As the conventions advise.
SECONDS_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
#: Names that changed with 1.37.
_OLD_SYSTEMS = {"x_ai": "xai"}
_COUNTED = ("provider", "tiktoken", "model")

Attributes = dict[str, AttributeValue]


class OpenTelemetrySink:
    """A span `embeddings {model}` and metrics for each call.

    The span is a child of the caller's own span. Providers are those given, or the global ones at the time it is made;
    they stay yours: `close` flushes them and leaves them open, unless `owned` says that they end with this sink.
    Attributes of metrics are bounded (`bounds`), and the names of attributes; values of spans are the call's own.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        latest: bool | None = None,
        bounds: Bounds | None = None,
        owned: bool = False,
        name: str = "opentelemetry",
    ) -> None:
        self.name = name
        self.latest = _opted_in() if latest is None else latest
        self._bounds = Bounds() if bounds is None else bounds
        self._owned = owned
        self._traces = trace.get_tracer_provider() if tracer_provider is None else tracer_provider
        self._metrics = metrics.get_meter_provider() if meter_provider is None else meter_provider
        self._tracer = self._traces.get_tracer("embedwatch.sdk")
        meter = self._metrics.get_meter("embedwatch.sdk")
        self._seconds = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=SECONDS_BUCKETS,
        )  # fmt: skip
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKENS_BUCKETS,
        )  # fmt: skip
        self._texts = meter.create_counter("embedwatch.texts", "{text}", "Texts.")
        self._errors = meter.create_counter("embedwatch.errors", "{text}", "Texts without a vector.")
        self._hits = meter.create_counter("embedwatch.cache.hits", "{text}", "Texts found in a cache.")
        self._cost = meter.create_counter("embedwatch.cost_usd", "USD", "Spend on what has a price.")
        self._saved = meter.create_counter("embedwatch.saved_usd", "USD", "Spend the cache has saved.")
        self._unpriced = meter.create_counter("embedwatch.unpriced_tokens", "{token}", "Tokens read at no known price.")

    def begin(self) -> Context:
        """The caller's context: its span will be the parent."""
        return otel_context.get_current()

    def record(self, call: Call) -> None:
        """One finished call, as a span with the times of the call, and as metrics that point to it."""
        parent = call.contexts.get(self.name)
        begun = _nanoseconds(call.start_seconds)
        span = self._tracer.start_span(
            f"embeddings {call.model}",
            context=parent if isinstance(parent, Context) else Context(),
            kind=SpanKind.CLIENT,
            attributes={
                **self._common(call.model, call.provider, call.response_model, call.server_address, call.server_port),
                **_of_span(call),
                **self._phases(call),
            },
            start_time=begun,
        )
        if call.error_class is not None:
            span.set_status(Status(StatusCode.ERROR))  # no description: an error's message may hold a text
        span.end(begun + _nanoseconds(call.seconds))
        self._measure(call, trace.set_span_in_context(span, Context()))

    def _measure(self, call: Call, exemplar: Context) -> None:
        model, provider, tenant = labels = self._bounds.of(call)
        answered, address, port = self._bounds.of_answer(call, labels)
        if model == OTHER:
            answered = ""  # of whichever model that was
        common = self._common(model, provider or None, answered or None, address or None, port)
        failed: Attributes = {} if call.error_class is None else {"error.type": call.error_class}
        self._seconds.record(call.seconds, {**common, **failed}, context=exemplar)
        if call.tokens is not None and call.token_method in _COUNTED:
            self._tokens.record(call.tokens, {**common, "gen_ai.token.type": "input"}, context=exemplar)
        own: Attributes = {"gen_ai.request.model": model}
        if tenant:
            own["embedwatch.tenant"] = tenant
        self._texts.add(call.texts, own)
        if call.errors:
            self._errors.add(call.errors, {**own, **failed})
        self._hits.add(call.cache_hits, own)
        if call.cost_nano_usd is not None:
            self._cost.add(call.cost_nano_usd / NANO_USD_PER_USD, own)
        elif call.tokens:
            self._unpriced.add(call.tokens, own)
        if call.saved_nano_usd is not None and call.tokens_saved:
            self._saved.add(call.saved_nano_usd / NANO_USD_PER_USD, own)

    def _phases(self, call: Call) -> Attributes:
        """A phase is part of an attribute's name: of these, too, a database takes but so many."""
        found: dict[str, float] = {}
        for phase, seconds in call.phase_seconds.items():
            name = f"embedwatch.phase.{self._bounds.phase(phase)}_seconds"
            found[name] = found.get(name, 0.0) + seconds
        return dict(found)

    def _common(
        self, model: str, provider: str | None, answered: str | None, address: str | None, port: int | None
    ) -> Attributes:
        """What spans and metrics both have."""
        common: Attributes = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": model}
        # Both conventions require a provider; nobody's name is better than a guess at one.
        named = provider or "_OTHER"
        if self.latest:
            common["gen_ai.provider.name"] = named
        else:
            common["gen_ai.system"] = _OLD_SYSTEMS.get(named, named)
        if answered is not None:
            common["gen_ai.response.model"] = answered
        if address is not None:
            common["server.address"] = address
            if port is not None:
                common["server.port"] = port
        return common

    def flush(self, timeout_seconds: float) -> bool:
        """Whether both providers sent what they held. The API's own providers, without an SDK, hold nothing."""
        deadline = monotonic() + timeout_seconds
        done = True
        for provider in (self._traces, self._metrics):
            flush = getattr(provider, "force_flush", None)
            if flush is not None:
                left_ms = max(int((deadline - monotonic()) * 1000), 1)
                done = bool(flush(left_ms)) and done
        return done

    def close(self, timeout_seconds: float) -> None:
        """Sends what is held. Providers of this sink's own end."""
        self.flush(timeout_seconds)
        if self._owned:
            for provider in (self._traces, self._metrics):
                _shut_down(provider)


def _of_span(call: Call) -> Attributes:
    """What only a span has."""
    found: dict[str, Any] = {
        "error.type": None if call.error_class is None else call.error_type or call.error_class,
        "gen_ai.embeddings.dimension.count": call.dimensions,
        "gen_ai.request.encoding_formats": None if call.encoding_format is None else (call.encoding_format,),
        "embedwatch.texts": call.texts,
        "embedwatch.cache.hits": call.cache_hits,
        "embedwatch.cache.duplicates": call.duplicates,
        "embedwatch.tokens_saved": call.tokens_saved,
        "embedwatch.cost_usd": _usd(call.cost_nano_usd),
        "embedwatch.saved_usd": _usd(call.saved_nano_usd),
        "embedwatch.price_source": call.price_source,
        "embedwatch.token_method": call.token_method,
        "embedwatch.tenant": call.tenant,
        "embedwatch.source": call.source,
    }
    if call.tokens is not None:
        counted = call.token_method in _COUNTED
        found["gen_ai.usage.input_tokens" if counted else "embedwatch.estimated_tokens"] = call.tokens
    return {name: value for name, value in found.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    """Whole seconds apart, which a float times 10**9 would round to some hundred nanoseconds."""
    whole, part = divmod(seconds, 1)
    return int(whole) * 10**9 + round(part * 1e9)


def _usd(nano_usd: int | None) -> float | None:
    return None if nano_usd is None else nano_usd / NANO_USD_PER_USD


def _opted_in() -> bool:
    return LATEST in (part.strip() for part in os.environ.get(OPT_IN, "").split(","))


def _shut_down(provider: Any) -> None:
    shutdown = getattr(provider, "shutdown", None)
    if shutdown is not None:
        shutdown()
