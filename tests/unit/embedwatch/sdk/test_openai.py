from __future__ import annotations

import asyncio
import functools
import inspect
import threading

import httpx
import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI

from tests.harness.calls import Watched
from tests.harness.embedding_api import EmbeddingApi, tokens_of

MODEL = "text-embedding-3-small"
TEXTS = ["one", "two words"]
BILLED = sum(map(tokens_of, TEXTS))


@pytest.fixture
def api():
    with EmbeddingApi() as running:
        yield running


@pytest.fixture
def watched():
    with Watched() as running:
        yield running


@pytest.fixture
def client(api):
    with OpenAI(api_key="k", base_url=api.url, max_retries=2) as made:
        yield made


def asked(client, **more):
    return client.embeddings.create(model=MODEL, input=TEXTS, **more)


def test_a_call_has_what_the_answer_bills(client, watched, api):
    answer = asked(watched.monitor.wrap(client))
    assert answer.to_dict() == asked(client).to_dict()
    call = watched.call()
    assert (call.model, call.provider, call.response_model) == (MODEL, "openai", MODEL)
    assert (call.texts, call.misses, call.tokens, call.token_method) == (2, 2, BILLED, "provider")
    assert call.cost_nano_usd == BILLED * 20
    assert (call.dimensions, call.encoding_format) == (16, None)
    assert call.server_address == "127.0.0.1"
    assert call.server_port == int(api.url.split(":")[2].split("/")[0])
    assert call.error_class is None


def test_the_client_stays_what_it_was(client, watched):
    wrapped = watched.monitor.wrap(client)
    assert type(wrapped) is OpenAI
    assert isinstance(wrapped.embeddings, openai.resources.Embeddings)
    assert (wrapped.api_key, wrapped.base_url, wrapped.max_retries) == ("k", client.base_url, 2)
    assert inspect.signature(wrapped.embeddings.create) == inspect.signature(client.embeddings.create)
    assert type(wrapped.chat.completions) is type(client.chat.completions)
    assert "create" not in vars(client.embeddings)
    asked(client)
    assert watched.calls() == []


def test_wrapped_twice_counts_once_and_two_monitors_count_each(client, watched):
    wrapped = watched.monitor.wrap(watched.monitor.wrap(client))
    asked(wrapped)
    assert watched.call().texts == 2
    with Watched() as other:
        asked(other.monitor.wrap(wrapped))
        assert other.call().tokens == BILLED
    assert len(watched.calls()) == 2


def test_what_somebody_put_in_place_of_create_goes_on(client, watched):
    own, seen = client.embeddings.create, []

    def patched(**kwargs):
        seen.append(kwargs["input"])
        return own(**kwargs)

    client.embeddings.create = patched
    asked(watched.monitor.wrap(client))
    asked_of = watched.monitor.wrap(client.embeddings)
    asked_of.create(model=MODEL, input="x")
    assert seen == [TEXTS, "x"]
    assert [call.tokens for call in watched.calls()] == [BILLED, tokens_of("x")]


def test_vectors_in_base64_stay_so_and_are_measured(client, watched):
    answer = asked(watched.monitor.wrap(client), encoding_format="base64")
    assert isinstance(answer.data[0].embedding, str)
    call = watched.call()
    assert (call.dimensions, call.encoding_format, call.tokens) == (16, "base64", BILLED)


def test_what_was_asked_for_is_told(client, watched):
    asked(watched.monitor.wrap(client), dimensions=8, encoding_format="float")
    assert (watched.call().dimensions, watched.call().encoding_format) == (8, "float")


@pytest.mark.parametrize(
    ("given", "texts", "tokens"),
    [
        ("one text", 1, tokens_of("one text")),
        ([5, 6, 7], 1, tokens_of("5 6 7")),
        ([[5, 6], [7]], 2, tokens_of("5 6") + tokens_of("7")),
        (("a", "b", "c"), 3, 3 * tokens_of("a")),
    ],
)
def test_every_kind_of_input_is_counted(client, watched, given, texts, tokens):
    watched.monitor.wrap(client).embeddings.create(model=MODEL, input=given)
    assert (watched.call().texts, watched.call().tokens) == (texts, tokens)


def test_a_raw_response_is_counted_and_stays_raw(client, watched):
    raw = watched.monitor.wrap(client).embeddings.with_raw_response.create(model=MODEL, input=TEXTS)
    assert raw.http_response.status_code == 200
    assert len(raw.parse().data[0].embedding) == 16
    assert watched.call().tokens == BILLED
    watched.monitor.wrap(client).with_raw_response.embeddings.create(model=MODEL, input=TEXTS)
    assert [call.tokens for call in watched.calls()] == [BILLED, BILLED]


def test_a_streamed_response_is_not_read_and_its_tokens_are_counted_here(client, watched):
    with watched.monitor.wrap(client).embeddings.with_streaming_response.create(model=MODEL, input=TEXTS) as response:
        assert not response.http_response.is_stream_consumed
        assert len(response.parse().data) == 2
    assert (watched.call().texts, watched.call().token_method) == (2, "tiktoken")


def test_copies_stay_wrapped(client, watched):
    wrapped = watched.monitor.wrap(client)
    asked(wrapped.with_options(timeout=5))
    asked(wrapped.copy().with_options(max_retries=0))
    assert [call.tokens for call in watched.calls()] == [BILLED, BILLED]
    assert wrapped.with_options(timeout=5).timeout == 5


def test_retries_are_one_call(client, watched, api):
    api.headers = {"retry-after-ms": "1"}
    api.moods = [429, 500]
    asked(watched.monitor.wrap(client))
    assert len(api.seen) == 3
    assert watched.call().error_class is None


@pytest.mark.parametrize(
    ("mood", "kind", "error_class"),
    [(429, openai.RateLimitError, "rate_limited"), (404, openai.NotFoundError, "unknown_model")],
)
def test_an_error_comes_through_unchanged_and_is_counted(client, watched, api, mood, kind, error_class):
    api.moods = [mood]
    with pytest.raises(kind):
        asked(watched.monitor.wrap(client.with_options(max_retries=0)))
    call = watched.call()
    assert (call.error_class, call.error_type, call.errors) == (error_class, kind.__name__, 2)
    assert (call.tokens, call.cost_nano_usd) == (0, 0)


def test_what_the_client_refuses_is_an_error_of_the_caller(client, watched):
    with pytest.raises(TypeError):
        watched.monitor.wrap(client).embeddings.create(model=MODEL)
    assert watched.call().error_type == "TypeError"


def test_a_server_without_usage_is_counted_here(watched):
    with EmbeddingApi(usage=False) as api, OpenAI(api_key="k", base_url=api.url) as client:
        asked(watched.monitor.wrap(client))
    assert (watched.call().token_method, watched.call().tokens) == ("tiktoken", 3)


def test_azure_prices_a_deployment_by_the_model_that_answers(api, watched):
    api.answers_as = MODEL
    with AzureOpenAI(api_key="k", azure_endpoint=api.url.removesuffix("/v1"), api_version="2024-10-21") as client:
        wrapped = watched.monitor.wrap(client)
        assert type(wrapped) is AzureOpenAI
        wrapped.embeddings.create(model="our-deployment", input=TEXTS)
        asked(wrapped.with_options(timeout=5))
    first, second = watched.calls()
    assert (first.provider, first.model, first.response_model) == ("azure.ai.openai", "our-deployment", MODEL)
    assert first.cost_nano_usd == BILLED * 20
    assert (second.provider, second.tokens) == ("azure.ai.openai", BILLED)


async def both_async(api, watched):
    async with AsyncOpenAI(api_key="k", base_url=api.url) as client:
        wrapped = watched.monitor.wrap(client)
        assert type(wrapped) is AsyncOpenAI
        assert inspect.iscoroutinefunction(wrapped.embeddings.create)
        await asyncio.gather(*(asked(wrapped) for _ in range(3)))
        raw = await wrapped.embeddings.with_raw_response.create(model=MODEL, input=TEXTS)
        assert len(raw.parse().data) == 2
        api.moods = [400]
        with pytest.raises(openai.BadRequestError):
            await asked(wrapped)
    endpoint = api.url.removesuffix("/v1")
    async with AsyncAzureOpenAI(api_key="k", azure_endpoint=endpoint, api_version="2024-10-21") as client:
        await asked(watched.monitor.wrap(client))


def test_async_clients_are_measured_as_well(api, watched):
    asyncio.run(both_async(api, watched))
    calls = watched.calls()
    assert [call.tokens for call in calls] == [BILLED, BILLED, BILLED, BILLED, 0, BILLED]
    assert [call.error_class is None for call in calls] == [True, True, True, True, False, True]
    assert calls[-1].provider == "azure.ai.openai"


def test_an_async_create_behind_a_plain_decorator_is_measured_to_its_end(api, watched, monkeypatch):
    own = openai.resources.AsyncEmbeddings.create

    @functools.wraps(own)
    def decorated(self, **kwargs):
        return own(self, **kwargs)

    monkeypatch.setattr(openai.resources.AsyncEmbeddings, "create", decorated)

    async def both() -> None:
        async with AsyncOpenAI(api_key="k", base_url=api.url) as client:
            await asked(watched.monitor.wrap(client))
            api.moods = [400]
            with pytest.raises(openai.BadRequestError):
                await asked(watched.monitor.wrap(client))

    asyncio.run(both())
    assert [(call.tokens, call.errors) for call in watched.calls()] == [(BILLED, 0), (0, 2)]


def test_a_cancelled_call_is_counted_as_cancelled(api, watched):
    async def cancel() -> None:
        async with AsyncOpenAI(api_key="k", base_url=api.url) as client:
            task = asyncio.ensure_future(asked(watched.monitor.wrap(client)))
            while not api.seen:  # the server is in another thread
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    api.gate = threading.Event()
    try:
        asyncio.run(cancel())
    finally:
        api.gate.set()
    assert (watched.call().errors, watched.call().error_class) == (2, "cancelled")


def test_labels_of_the_caller_come_first(client, api):
    with Watched(provider="house", tenant="acme") as watched:
        asked(watched.monitor.wrap(client))
        asked(watched.monitor.wrap(client, provider="other", tenant="b", source="job", model="named"))
        first, second = watched.calls()
    assert (first.provider, first.tenant, first.model) == ("house", "acme", MODEL)
    assert (second.provider, second.tenant, second.source, second.model) == ("other", "b", "job", "named")


def test_the_provider_is_told_by_the_address(watched):
    def answer(request: httpx.Request) -> httpx.Response:
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        return httpx.Response(200, json={"object": "list", "data": data, "model": "mistral-embed", "usage": usage})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        client = OpenAI(api_key="k", base_url="https://api.mistral.ai/v1", http_client=http)
        watched.monitor.wrap(client).embeddings.create(model="mistral-embed", input="x", encoding_format="float")
    call = watched.call()
    assert (call.provider, call.server_address, call.server_port) == ("mistral_ai", "api.mistral.ai", 443)
    assert call.cost_nano_usd == 4 * 100
