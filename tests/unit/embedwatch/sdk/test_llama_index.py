from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from pydantic import BaseModel

from tests.harness.calls import Watched


class OwnEmbedding(BaseEmbedding):
    """As a user writes one: the methods for many texts are LlamaIndex's, which call that for one."""

    def _get_text_embedding(self, text: str) -> list[float]:
        if text == "poison":
            raise ConnectionError(text)
        return [float(len(text)), 1.0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


@pytest.fixture
def watched():
    with Watched() as running:
        yield running


def own(**arguments: Any) -> OwnEmbedding:
    return OwnEmbedding(model_name="text-embedding-3-small", **arguments)


async def every_async(wrapped: Any) -> None:
    await wrapped.aget_text_embedding("a")
    await wrapped.aget_query_embedding("b")
    await wrapped.aget_text_embedding_batch(["c", "d", "e"])
    await wrapped.acall([TextNode(text="f"), TextNode(text="g")])


def every_sync(wrapped: Any) -> None:
    wrapped.get_text_embedding("a")
    wrapped.get_query_embedding("b")
    wrapped.get_text_embedding_batch(["c", "d", "e"])
    wrapped([TextNode(text="f"), TextNode(text="g")])


@pytest.mark.parametrize("how", ["sync", "async"])
def test_each_text_is_counted_once_whichever_method_is_called(watched, how):
    wrapped = watched.monitor.wrap(own())
    if how == "sync":
        every_sync(wrapped)
    else:
        asyncio.run(every_async(wrapped))
    calls = watched.calls()
    assert [call.texts for call in calls] == [1, 1, 3, 2]
    assert sum(call.tokens for call in calls) == 7
    assert {(call.model, call.token_method, call.dimensions) for call in calls} == {
        ("text-embedding-3-small", "tiktoken", 2)
    }


def test_a_request_is_one_call(watched):
    wrapped = watched.monitor.wrap(own(embed_batch_size=2))
    assert len(wrapped.get_text_embedding_batch(list("abcde"))) == 5
    assert [call.texts for call in watched.calls()] == [2, 2, 1]


@pytest.mark.parametrize("how", ["sync", "async"])
def test_what_its_own_cache_finds_is_a_hit(watched, how):
    wrapped = watched.monitor.wrap(own(embeddings_cache=SimpleKVStore()))

    async def ask() -> None:
        await wrapped.aget_text_embedding_batch(["a", "b"])
        await wrapped.aget_text_embedding_batch(["a", "c", "b"])
        await wrapped.aget_query_embedding("a")
        await wrapped.aget_query_embedding("new")

    if how == "async":
        asyncio.run(ask())
    else:
        wrapped.get_text_embedding_batch(["a", "b"])
        wrapped.get_text_embedding_batch(["a", "c", "b"])
        wrapped.get_query_embedding("a")
        wrapped.get_query_embedding("new")
    assert [(call.texts, call.cache_hits, call.misses) for call in watched.calls()] == [
        (2, 0, 2), (3, 2, 1), (1, 1, 0), (1, 0, 1),
    ]  # fmt: skip


def test_an_error_comes_through_and_is_counted(watched):
    with pytest.raises(ConnectionError):
        watched.monitor.wrap(own()).get_text_embedding_batch(["a", "poison"])
    assert (watched.call().error_class, watched.call().errors) == ("connection", 2)


def test_it_is_still_what_it_was(watched):
    plain = own()
    wrapped = watched.monitor.wrap(plain)
    assert isinstance(wrapped, OwnEmbedding)
    assert watched.monitor.wrap(wrapped) is wrapped
    assert (wrapped.class_name(), wrapped.to_dict()) == (plain.class_name(), plain.to_dict())
    assert repr(wrapped) == repr(plain)
    assert type(plain) is OwnEmbedding

    class Holder(BaseModel):
        embedding: BaseEmbedding

    assert Holder(embedding=wrapped).embedding is wrapped
    assert Holder(embedding=wrapped).model_dump() == Holder(embedding=plain).model_dump()
    plain.get_text_embedding("unmeasured")
    assert watched.calls() == []


def test_a_pickle_is_the_embedding_itself(watched):
    plain = pickle.loads(pickle.dumps(watched.monitor.wrap(own())))  # noqa: S301
    assert type(plain) is OwnEmbedding
    assert plain.get_text_embedding("abc") == [3.0, 1.0]
    assert watched.calls() == []


def test_pipelines_take_it(watched):
    pipeline = IngestionPipeline(transformations=[watched.monitor.wrap(MockEmbedding(embed_dim=3))])
    nodes = pipeline.run(nodes=[TextNode(text="a"), TextNode(text="b")])
    assert [len(node.embedding) for node in nodes] == [3, 3]
    assert (watched.call().texts, watched.call().model) == (2, "MockEmbedding")


def test_llama_index_traces_no_more_than_before(watched):
    seen: list[str] = []

    class Handler(BaseEventHandler):
        @classmethod
        def class_name(cls) -> str:
            return "Handler"

        def handle(self, event: Any, **_: Any) -> None:
            seen.append(type(event).__name__)

    handler = Handler()
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(handler)
    try:
        own().get_text_embedding("a")
        plain, seen[:] = list(seen), []
        watched.monitor.wrap(own()).get_text_embedding("a")
    finally:
        dispatcher.event_handlers.remove(handler)
    assert seen == plain
    assert len(plain) == 2
