"""LlamaIndex's `BaseEmbedding`: each text that goes to the model is counted once, whichever of its methods is called.

What comes back is a copy of the embedding, of a class made from its own: pydantic, pipelines and `isinstance` take it
for what it was. Measured is where LlamaIndex hands texts to the model (`_get_text_embeddings` and its like), so a call
is one request of `embed_batch_size` texts at most, without the time that a rate limiter makes it wait. Texts found in
its own `embeddings_cache` are hits. Tokens are counted in the background; see `langchain` for those that were billed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from embedwatch.sdk import providers
from embedwatch.sdk.context import CallContext

if TYPE_CHECKING:
    from embedwatch.sdk.monitor import Monitor

#: Where the model is asked. Those for many texts may call those for one: a call within a call is one call.
_ASKING = (
    "_get_query_embedding", "_aget_query_embedding", "_get_text_embedding", "_aget_text_embedding",
    "_get_text_embeddings", "_aget_text_embeddings",
)  # fmt: skip
#: Where a cache of LlamaIndex's own may answer in place of it.
_CACHED = (
    "get_query_embedding", "aget_query_embedding", "get_text_embedding", "aget_text_embedding",
    "_get_text_embeddings_cached", "_aget_text_embeddings_cached",
)  # fmt: skip
_MARK = "_embedwatch_monitors"

Begin = Callable[[Any, tuple[Any, ...], dict[str, Any]], CallContext | None]


def wrap(monitor: Monitor, embedding: Any, **labels: str | None) -> Any:
    """The embedding, measured."""
    kind = type(embedding)
    if monitor in getattr(kind, _MARK, ()):
        return embedding
    provider = labels.get("provider") or monitor.provider or providers.of_class(kind)
    model = labels.get("model") or monitor.model
    local = providers.is_local(kind)

    def begin(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallContext:
        texts = args[0] if args else next(iter(kwargs.values()), None)
        call = CallContext(monitor, texts, model or _name(self), provider, labels.get("tenant"), labels.get("source"))
        call.local = local
        call.begin()
        return call

    def begin_cached(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallContext | None:
        return begin(self, args, kwargs) if self.embeddings_cache else None

    made = _kind(kind, monitor)
    for name in _ASKING:
        _put(made, name, _measured(getattr(kind, name), begin))
    for name in _CACHED:
        if hasattr(kind, name):
            _put(made, name, _measured(getattr(kind, name), begin_cached, cached=True))
    wrapped = embedding.model_copy()
    object.__setattr__(wrapped, "__class__", made)
    return wrapped


def _name(embedding: Any) -> str | None:
    name = getattr(embedding, "model_name", None)
    return name if isinstance(name, str) and name != "unknown" else type(embedding).__name__


def _kind(kind: Any, monitor: Monitor) -> Any:
    namespace = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    made = type(kind)(kind.__name__, (kind,), namespace)
    _put(made, _MARK, (*getattr(kind, _MARK, ()), monitor))
    _put(made, "__reduce_ex__", functools.partialmethod(_reduce, kind))
    return made


def _put(kind: Any, name: str, value: Any) -> None:
    # After the class is made: LlamaIndex traces what it finds in a class a second time.
    type.__setattr__(kind, name, value)


def _reduce(self: Any, kind: Any, protocol: Any) -> Any:
    """A pickle of it is the embedding itself, which is not measured: another process has no such class."""
    plain = self.model_copy()
    object.__setattr__(plain, "__class__", kind)
    return _itself, (plain,)


def _itself(embedding: Any) -> Any:
    return embedding


def _measured(method: Any, begin: Begin, *, cached: bool = False) -> Any:
    if inspect.iscoroutinefunction(method):

        async def arun(self: Any, *args: Any, **kwargs: Any) -> Any:
            call = begin(self, args, kwargs)
            if call is None:
                return await method(self, *args, **kwargs)
            try:
                found = await method(self, *args, **kwargs)
            except BaseException as error:
                call.end(error)
                raise
            _done(call, found, cached)
            return found

        return functools.wraps(method)(arun)

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = begin(self, args, kwargs)
        if call is None:
            return method(self, *args, **kwargs)
        try:
            found = method(self, *args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        _done(call, found, cached)
        return found

    return functools.wraps(method)(run)


def _done(call: CallContext, found: Any, cached: bool) -> None:
    try:
        vector = found[0] if found and isinstance(found[0], list) else found
        call.response(dimensions=len(vector) if isinstance(vector, list) and vector else None)
        if cached and call.text_count is not None:
            asked = sum(inner.text_count or 0 for inner in call.inner or () if inner.error_class is None)
            call.cache(hits=max(call.text_count - asked, 0))
    except Exception as error:
        call._monitor._trouble("what an embedding gave could not be read", error)
    finally:
        call.end()
