"""Level 3 of the SDK: counters and histograms for Prometheus, in this process.

Series that mean what those of the agents mean have their names (`embedwatch_texts_total`, `embedwatch_cost_usd_total`;
`stream_agents/web/series.py`) and a label `provider` more; those of calls are called `embedwatch_sdk_...`. A process
whose calls also go to Kafka is counted by the agents, too: take one `job` or the other, never the sum of both.
Base units: seconds, USD. Ratios are made of counters when they are asked for, over the time that is asked for:

    sum(rate(embedwatch_cache_hits_total[5m])) / sum(rate(embedwatch_texts_total[5m]))

Works in prometheus-client's multiprocess mode (PROMETHEUS_MULTIPROC_DIR): there are no gauges here.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, multiprocess, start_http_server

from embedwatch.events import NANO_USD_PER_USD
from embedwatch.metric_families import Family
from embedwatch.sdk.bounds import Bounds
from embedwatch.sdk.call import Call

#: 1 ms, a small model on a GPU, to 60 s, an API with retries; with the targets 50, 100 and 500 ms among them.
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: OpenAI takes at most 2,048 texts.
TEXTS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_LABELS = ("model", "provider", "tenant")

#: Those that are of the SDK alone. The others have names and meanings of the agents' and a label `provider` more.
FAMILIES = (
    Family(
        "sdk_calls", "counter", "calls", "Calls of an embedding model.",
        "None while there should be some: the client in use is not the one that was wrapped.", _LABELS, several="sum",
    ),
    Family(
        "sdk_failed_calls", "counter", "calls", "Calls that raised an error, by its class.",
        "By the class: the provider's limits (`rate_limited`), its address (`connection`), the texts (`model_error`).",
        (*_LABELS, "class"), several="sum",
    ),
    Family(
        "sdk_call_duration_seconds", "histogram", "seconds", "Time of a call, as its caller saw it.",
        "Compare it with the provider's own time: the rest is network, retries and waiting for a connection.",
        ("model", "provider"), several="sum",
    ),
    Family(
        "sdk_call_texts", "histogram", "texts", "Texts of a call.",
        "Few in a call: put more of them into one, which costs less time for each.", ("model", "provider"),
        several="sum",
    ),
    Family(
        "sdk_uncounted_texts", "counter", "texts", "Texts read of which the tokens are not known.",
        "Their cost is not known either: tell the tokens with `call.usage`.", _LABELS, several="sum",
    ),
)  # fmt: skip
_TEXTS = {family.name: family.text for family in FAMILIES}


class _Families:
    """The series of one registry. Sinks on the same registry share them: a name can be registered but once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *more: str) -> Counter:
            return Counter(f"embedwatch_{name}", text, (*_LABELS, *more), registry=registry)

        self.calls = counter("sdk_calls", _TEXTS["sdk_calls"])
        self.failed_calls = counter("sdk_failed_calls", _TEXTS["sdk_failed_calls"], "class")
        self.seconds = Histogram(
            "embedwatch_sdk_call_duration_seconds", _TEXTS["sdk_call_duration_seconds"], ("model", "provider"),
            buckets=SECONDS_BUCKETS, registry=registry,
        )  # fmt: skip
        self.call_texts = Histogram(
            "embedwatch_sdk_call_texts", _TEXTS["sdk_call_texts"], ("model", "provider"), buckets=TEXTS_BUCKETS,
            registry=registry,
        )  # fmt: skip
        self.texts = counter("texts", "Texts.")
        self.cache_hits = counter("cache_hits", "Texts found in a cache.")
        self.cache_misses = counter("cache_misses", "Texts that the model read.")
        self.duplicate_texts = counter("duplicate_texts", "Texts that came twice in a call.")
        self.errors = counter("errors", "Texts without a vector.", "class")
        self.tokens_embedded = counter("tokens_embedded", "Tokens that the model read.")
        self.tokens_saved = counter("tokens_saved", "Tokens that need not be read.")
        self.unpriced_tokens = counter("unpriced_tokens", "Tokens read at no known price.")
        self.unpriced_saved_tokens = counter(
            "unpriced_saved_tokens", "Tokens that need not be read, at no known price."
        )
        self.uncounted_texts = counter("sdk_uncounted_texts", _TEXTS["sdk_uncounted_texts"])
        self.cost = counter("cost_usd", "Spend on what has a price; absent where nothing has one.")
        self.saved = counter("saved_usd", "Spend the cache has saved; absent likewise.")
        self.phases = counter("phase_seconds", "Time by phase, summed over calls.", "phase")


_shared: weakref.WeakKeyDictionary[CollectorRegistry, _Families] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


class PrometheusSink:
    """Counts calls in a registry of prometheus-client, the global one where none is given.

    Models, providers, tenants and phases above the limits share the label `other` (`bounds`). `port` also serves the
    registry at http://127.0.0.1:port/metrics until `close` (0 takes a free port, see `self.port`), in this process and
    not in its forked children; name another `host` to be reached from outside. Raises OSError where the port is taken.
    """

    begins = False

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        bounds: Bounds | None = None,
        name: str = "prometheus",
    ) -> None:
        self.name = name
        self.registry = REGISTRY if registry is None else registry
        self._bounds = Bounds() if bounds is None else bounds
        with _lock:
            if self.registry not in _shared:
                _shared[self.registry] = _Families(self.registry)
            self._families = _shared[self.registry]
        self._server: Any = None
        self.port: int | None = None
        if port is not None:
            self._server = start_http_server(port, host, _exposed(self.registry))
            self.port = self._server[0].server_port

    def begin(self) -> None:
        """Nothing of the caller's context is kept."""

    def record(self, call: Call) -> None:
        """One finished call."""
        families, labels = self._families, self._bounds.of(call)
        model, provider, _ = labels
        families.calls.labels(*labels).inc()
        families.seconds.labels(model, provider).observe(call.seconds)
        families.call_texts.labels(model, provider).observe(call.texts)
        for counter, amount in (
            (families.texts, call.texts),
            (families.cache_hits, call.cache_hits),
            (families.cache_misses, call.misses),
            (families.duplicate_texts, call.duplicates),
            (families.tokens_saved, call.tokens_saved),
            (families.tokens_embedded, call.tokens or 0),
        ):
            counter.labels(*labels).inc(amount)
        for phase, seconds in call.phase_seconds.items():
            families.phases.labels(*labels, self._bounds.phase(phase)).inc(seconds)
        if call.error_class is not None:
            families.failed_calls.labels(*labels, call.error_class).inc()
            families.errors.labels(*labels, call.error_class).inc(call.errors)
        self._money(call, labels)

    def _money(self, call: Call, labels: tuple[str, str, str]) -> None:
        # A series is made by its first known sum, so that what is not known is absent and not 0.
        if call.cost_nano_usd is not None:
            self._families.cost.labels(*labels).inc(call.cost_nano_usd / NANO_USD_PER_USD)
        elif call.tokens:
            self._families.unpriced_tokens.labels(*labels).inc(call.tokens)
        if call.tokens is None and call.misses:
            self._families.uncounted_texts.labels(*labels).inc(call.misses)
        if call.saved_nano_usd is not None:
            if call.saved_nano_usd or call.tokens_saved:
                self._families.saved.labels(*labels).inc(call.saved_nano_usd / NANO_USD_PER_USD)
        elif call.tokens_saved:
            self._families.unpriced_saved_tokens.labels(*labels).inc(call.tokens_saved)

    def flush(self, timeout_seconds: float) -> bool:
        """Always True: Prometheus comes and takes it."""
        return True

    def after_fork(self) -> None:
        """In the child: the server's thread did not come along, and its port is the parent's."""
        server, self._server, self.port = self._server, None, None
        if server is not None:
            server[0].socket.close()  # else the port stays taken for as long as the child lives

    def close(self, timeout_seconds: float) -> None:
        """Ends the server, if there is one. The counts stay in the registry."""
        if self._server is None:
            return
        server, thread = self._server
        self._server = None
        server.shutdown()
        server.server_close()
        thread.join(timeout_seconds)


def _exposed(registry: CollectorRegistry) -> CollectorRegistry:
    """What to serve: in multiprocess mode the files of all processes, as prometheus-client wants it."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return registry
    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return together
