from __future__ import annotations

import asyncio
import copy
import pickle

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from openai import OpenAI
from pydantic import BaseModel, ConfigDict

from tests.harness.calls import Watched
from tests.harness.embedding_api import EmbeddingApi, tokens_of


class OwnEmbeddings(Embeddings):
    """As a user writes them."""

    def __init__(self) -> None:
        self.model = "text-embedding-3-small"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if "poison" in texts:
            raise TimeoutError("poison")
        return [[float(len(text)), 1.0] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class OpenAIEmbeddings(Embeddings):
    """As LangChain's own class of that name: it holds a client of OpenAI's."""

    def __init__(self, client) -> None:
        self.client, self.model = client, "text-embedding-3-small"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        answers = [self.client.create(model=self.model, input=[text]) for text in texts]
        return [answer.data[0].embedding for answer in answers]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.fixture
def watched():
    with Watched() as running:
        yield running


def test_documents_and_queries_are_counted_once_each(watched):
    wrapped = watched.monitor.wrap(OwnEmbeddings())
    assert wrapped.embed_documents(["a", "bb"]) == [[1.0, 1.0], [2.0, 1.0]]
    assert wrapped.embed_query("ccc") == [3.0, 1.0]
    assert [(call.texts, call.tokens, call.token_method) for call in watched.calls()] == [
        (2, 2, "tiktoken"), (1, 1, "tiktoken"),
    ]  # fmt: skip
    assert watched.calls()[0].model == "text-embedding-3-small"


def test_the_async_ones_are_too(watched):
    wrapped = watched.monitor.wrap(OwnEmbeddings())

    async def both():
        return await wrapped.aembed_documents(["a", "bb"]), await wrapped.aembed_query("ccc")

    assert asyncio.run(both()) == ([[1.0, 1.0], [2.0, 1.0]], [3.0, 1.0])
    assert [call.texts for call in watched.calls()] == [2, 1]


def test_an_error_comes_through_and_is_counted(watched):
    with pytest.raises(TimeoutError, match="poison"):
        watched.monitor.wrap(OwnEmbeddings()).embed_documents(["poison"])
    assert (watched.call().error_class, watched.call().errors) == ("timeout", 1)


def test_it_is_still_an_embeddings_wherever_one_is_asked_for(watched):
    wrapped = watched.monitor.wrap(OwnEmbeddings())
    assert isinstance(wrapped, Embeddings)
    assert isinstance(wrapped, OwnEmbeddings)
    assert watched.monitor.wrap(wrapped) is wrapped

    class Holder(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        embeddings: Embeddings

    assert Holder(embeddings=wrapped).embeddings is wrapped
    store = InMemoryVectorStore(wrapped)
    store.add_documents([Document("a"), Document("bb")])
    assert store.similarity_search("ccc", k=1)
    assert [call.texts for call in watched.calls()] == [2, 1]


def test_two_monitors_count_each(watched):
    with Watched() as other:
        wrapped = other.monitor.wrap(watched.monitor.wrap(OwnEmbeddings()))
        assert isinstance(wrapped, OwnEmbeddings)
        assert other.monitor.wrap(wrapped) is wrapped
        assert watched.monitor.wrap(wrapped) is wrapped
        assert wrapped.embed_documents(["a", "bb"]) == [[1.0, 1.0], [2.0, 1.0]]
        assert type(pickle.loads(pickle.dumps(wrapped))) is OwnEmbeddings  # noqa: S301
        for each in (watched, other):
            assert (each.call().texts, each.call().model) == (2, "text-embedding-3-small")


def test_langchains_own_pydantic_ones_are_measured(watched):
    wrapped = watched.monitor.wrap(DeterministicFakeEmbedding(size=3), model="fake")
    assert len(wrapped.embed_query("x")) == 3
    assert wrapped.size == 3
    assert (watched.call().model, watched.call().provider) == ("fake", None)


def test_a_copy_is_the_embeddings_itself(watched):
    wrapped = watched.monitor.wrap(OwnEmbeddings())
    for plain in (pickle.loads(pickle.dumps(wrapped)), copy.deepcopy(wrapped)):  # noqa: S301
        assert type(plain) is OwnEmbeddings
    assert watched.calls() == []


def test_with_a_measured_client_within_it_is_one_call_with_what_was_billed(watched):
    with EmbeddingApi() as api, OpenAI(api_key="k", base_url=api.url) as client:
        measured = watched.monitor.wrap(client.embeddings)
        wrapped = watched.monitor.wrap(OpenAIEmbeddings(measured))
        wrapped.embed_documents(["a b", "c"])
        assert len(api.seen) == 2
    call = watched.call()
    assert (call.texts, call.tokens, call.token_method) == (2, tokens_of("a b") + tokens_of("c"), "provider")
    assert (call.provider, call.server_address) == ("openai", "127.0.0.1")
    assert call.cost_nano_usd == call.tokens * 20
