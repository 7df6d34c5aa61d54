from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import pytest

from tests.harness.calls import Watched
from tests.harness.embedding_api import EmbeddingApi, tokens_of
from tests.harness.waiting import eventually

# Else its import asks the network for a price list.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from embedwatch.sdk.litellm_callback import LiteLLMCallback
from embedwatch.sdk.monitor import Monitor
from embedwatch.sdk.sink_otel import OpenTelemetrySink

MODEL = "openai/text-embedding-3-small"
TEXTS = ["one", "two words"]
BILLED = sum(map(tokens_of, TEXTS))


@pytest.fixture
def loop():
    """LiteLLM asks for the thread's event loop also where it needs none, and leaves what it is given open."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    asyncio.set_event_loop(None)
    made.close()


@pytest.fixture
def api(monkeypatch, loop):
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    with EmbeddingApi() as running:
        yield running
    for client in litellm.in_memory_llm_clients_cache.cache_dict.values():
        if hasattr(client, "close") and not asyncio.iscoroutinefunction(client.close):
            client.close()
    litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture
def watched(monkeypatch):
    with Watched() as running:
        for name in (
            "callbacks", "success_callback", "failure_callback", "_async_success_callback", "_async_failure_callback",
            "input_callback", "_async_input_callback",
        ):  # fmt: skip
            monkeypatch.setattr(litellm, name, [], raising=False)
        litellm.callbacks = [LiteLLMCallback(running.monitor)]
        yield running


def ask(api, **more):
    return litellm.embedding(model=MODEL, input=TEXTS, api_base=api.url, api_key="k", encoding_format="float", **more)


def settled(watched, calls=1):
    """The calls, once LiteLLM has told of them: it does so in threads and tasks of its own."""
    assert eventually(lambda: len(watched.calls()) >= calls)
    return watched.calls()


def test_a_call_is_counted_with_what_was_billed(api, watched):
    assert len(ask(api).data) == 2
    (call,) = settled(watched)
    assert (call.model, call.provider, call.response_model) == ("text-embedding-3-small", "openai",
        "text-embedding-3-small")  # fmt: skip
    assert (call.texts, call.misses, call.tokens, call.token_method) == (2, 2, BILLED, "provider")
    assert call.cost_nano_usd == BILLED * 20
    assert call.price_source.startswith("genai-prices")
    assert (call.server_address, call.dimensions, call.encoding_format) == ("127.0.0.1", 16, "float")
    assert 0 < call.seconds < 60


def test_providers_of_which_it_tells_no_input_are_counted_as_well(api, watched):
    def ask_own(**more):
        return litellm.embedding(model="hosted_vllm/own", input=TEXTS, api_base=api.url, api_key="k", **more)

    ask_own(encoding_format="float")
    api.moods = [400]
    with pytest.raises(litellm.BadRequestError):
        ask_own(encoding_format="float")
    first, failed = settled(watched, 2)
    assert (first.texts, first.misses, first.cache_hits, first.tokens) == (2, 2, 0, BILLED)
    assert (first.provider, first.cost_nano_usd) == ("hosted_vllm", None)
    assert (failed.texts, failed.errors) == (2, 2)


def test_where_it_tells_nothing_of_the_input_the_vectors_are_counted(watched):
    told(watched, input=None)
    assert (watched.call().texts, watched.call().misses, watched.call().tokens) == (1, 1, 5)


def test_an_error_comes_through_and_is_counted_once(api, watched):
    api.moods = [400]
    with pytest.raises(litellm.BadRequestError):
        ask(api, max_retries=0)
    (call,) = settled(watched)
    assert (call.error_type, call.errors, call.cost_nano_usd) == ("BadRequestError", 2, 0)


def test_retries_are_one_call(api, watched):
    api.moods = [500]
    api.headers = {"retry-after-ms": "1"}
    ask(api, max_retries=2)
    assert len(api.seen) == 2
    assert [call.error_class for call in settled(watched)] == [None]


def test_async_calls_are_counted_once_and_hits_of_its_cache_are_hits(api, loop, watched, monkeypatch):
    monkeypatch.setattr(litellm, "cache", litellm.Cache(type="local"))

    async def ask_async(texts):
        await litellm.aembedding(
            model=MODEL, input=texts, api_base=api.url, api_key="k", encoding_format="float", caching=True
        )
        # What tells of a call is a task of its own, in the loop: let it come to its end.
        while len(watched.calls()) < len(asked):
            await asyncio.sleep(0.01)

    asked: list[int] = []

    async def all_of_it():
        for texts in (["x", "y"], ["x", "y"], ["x", "z"]):
            asked.append(1)
            await ask_async(texts)
        api.moods = [400]
        asked.append(1)
        with pytest.raises(litellm.BadRequestError):
            await litellm.aembedding(model=MODEL, input=["w"], api_base=api.url, api_key="k", max_retries=0)
        while len(watched.calls()) < len(asked):
            await asyncio.sleep(0.01)
        for client in litellm.in_memory_llm_clients_cache.cache_dict.values():
            if hasattr(client, "close") and asyncio.iscoroutinefunction(client.close):
                await client.close()

    loop.run_until_complete(all_of_it())
    assert [(call.texts, call.cache_hits, call.misses, call.errors) for call in settled(watched, 4)] == [
        (2, 0, 2, 0), (2, 2, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1),
    ]  # fmt: skip
    # Of a call that its cache had in part LiteLLM tells the part that was asked for.
    first, hit, partly, _ = watched.calls()
    assert (first.tokens, first.cost_nano_usd) == (6, 120)
    assert (hit.tokens, hit.tokens_saved, hit.cost_nano_usd, hit.saved_nano_usd) == (0, 6, 0, 120)
    assert (partly.tokens, partly.cost_nano_usd) == (3, 60)


def told(watched, model="house-model", *, start=1000.0, tokens=5, failed=False, **more):
    """What LiteLLM tells its callbacks, without LiteLLM."""
    answer = SimpleNamespace(data=[{"embedding": [0.0, 1.0]}], model=model, usage=SimpleNamespace(prompt_tokens=tokens))
    kwargs = {"call_type": "embedding", "litellm_call_id": "1", "input": ["a"], "model": model,
              "custom_llm_provider": "mistral", "response_cost": 0.25, **more}  # fmt: skip
    (callback,) = litellm.callbacks
    if failed:
        callback.log_failure_event({**kwargs, "exception": TimeoutError()}, None, start, start + 0.5)
    else:
        callback.log_success_event(kwargs, answer, start, start + 0.5)


def test_its_own_cost_counts_only_where_ours_is_not_known(watched):
    told(watched)
    told(watched, model="mistral-embed", litellm_call_id="2")
    unknown, known = watched.calls()
    assert (unknown.cost_nano_usd, unknown.price_source) == (250_000_000, "litellm")
    assert (known.cost_nano_usd, known.provider) == (5 * 100, "mistral_ai")
    assert (known.start_seconds, known.seconds) == (1000.0, pytest.approx(0.5))


def test_a_server_that_nobody_sells_is_not_free(watched):
    told(watched, response_cost=0.0)
    assert (watched.call().cost_nano_usd, watched.call().price_source) == (None, "unknown")


def test_texts_that_are_tokens_already_are_charged_once_and_not_at_all_from_the_cache(watched):
    told(watched, model="mistral-embed", input=[1, 2, 3])
    told(watched, model="mistral-embed", input=[1, 2, 3], cache_hit=True, litellm_call_id="2")
    told(watched, model="mistral-embed", input=[1, 2, 3], tokens=0, litellm_call_id="3")
    assert [(call.tokens, call.tokens_saved, call.cost_nano_usd) for call in watched.calls()] == [
        (5, 0, 500), (0, 5, 0), (3, 0, 300),
    ]  # fmt: skip


def test_tries_that_share_an_id_are_calls_of_their_own(watched):
    told(watched, failed=True)
    told(watched, failed=True)
    told(watched, start=1002.0)
    assert [call.error_class for call in watched.calls()] == ["timeout", None]


def test_a_call_is_counted_once_and_others_than_embeddings_not_at_all(watched):
    told(watched)
    told(watched)
    told(watched, call_type="completion", litellm_call_id="3")
    assert len(watched.calls()) == 1


def test_what_it_does_not_understand_never_reaches_the_caller(watched):
    (callback,) = litellm.callbacks
    callback.log_success_event({"call_type": "embedding"}, None, None, None)
    callback.log_failure_event({"call_type": "embedding", "litellm_call_id": "9"}, None, 5.0, 4.0)
    callback.log_pre_api_call("m", [], {"call_type": "embedding"})
    assert [call.errors for call in watched.calls()] == [1]


def test_two_monitors_are_told_and_the_span_is_a_child_of_the_callers(api, watched):
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    with Monitor(sinks=[OpenTelemetrySink(provider)]) as monitor:
        litellm.callbacks.append(LiteLLMCallback(monitor))
        with trace.get_tracer("app", tracer_provider=provider).start_as_current_span("request") as outer:
            ask(api)
        assert eventually(lambda: monitor.flush(10) and len(spans.get_finished_spans()) > 1)
    (span,) = [span for span in spans.get_finished_spans() if span.name.startswith("embeddings")]
    assert span.parent.span_id == outer.get_span_context().span_id
    assert len(settled(watched)) == 1
