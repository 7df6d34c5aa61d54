"""OpenAI's and Azure's clients, sync and async: `embeddings.create`, plain and `with_raw_response`.

What comes back is a copy of the client that shares its connections, so that it is the same to `isinstance` and in all
else, while the client that was given stays as it was. Tokens are those that the answer bills, the model is the one
asked for, and a call's retries are one call. Of `with_streaming_response` the answer is not read here: its tokens are
counted in the background.
"""

from __future__ import annotations

import copy
import functools
import inspect
from typing import TYPE_CHECKING, Any

from embedwatch.sdk import providers
from embedwatch.sdk.context import CallContext

if TYPE_CHECKING:
    from embedwatch.sdk.monitor import Monitor

_MARK = "_embedwatch_monitors"
#: What a client has made of itself before, and would go past us.
_MADE_BEFORE = ("embeddings", "with_raw_response", "with_streaming_response")


def wrap_client(monitor: Monitor, client: Any, **labels: str | None) -> Any:
    """A client whose `embeddings` are measured; what it makes by `copy` and `with_options` is, too."""
    if monitor in getattr(client, _MARK, ()):
        return client
    inner = client.embeddings
    wrapped = copy.copy(client)
    for name in _MADE_BEFORE:
        wrapped.__dict__.pop(name, None)
    wrapped.__dict__[_MARK] = (*getattr(client, _MARK, ()), monitor)
    # Measured by another monitor already, or patched by somebody: that function goes on within ours.
    create = inner.__dict__.get("create")
    wrapped.__dict__["embeddings"] = _resource(monitor, type(inner)(wrapped), create, labels)

    make = client.copy

    def again(*args: Any, **kwargs: Any) -> Any:
        return wrap_client(monitor, make(*args, **kwargs), **labels)

    wrapped.__dict__["copy"] = wrapped.__dict__["with_options"] = functools.wraps(make)(again)
    return wrapped


def wrap_resource(monitor: Monitor, resource: Any, **labels: str | None) -> Any:
    """The same for what `client.embeddings` is, as LangChain's classes take it."""
    if monitor in getattr(resource, _MARK, ()):
        return resource
    return _resource(monitor, type(resource)(resource._client), resource.__dict__.get("create"), labels)


def _resource(monitor: Monitor, resource: Any, create: Any, labels: dict[str, str | None]) -> Any:
    create = resource.create if create is None else create
    begin = functools.partial(_begin, monitor, resource._client, labels)
    # By the class, too: a decorator that is no coroutine function may be around it.
    of_async = any(base.__name__ == "AsyncEmbeddings" for base in type(resource).__mro__)
    make = _async if of_async or inspect.iscoroutinefunction(create) else _sync
    resource.create = functools.wraps(create)(make(create, begin))
    resource.__dict__[_MARK] = (*getattr(create, _MARK, ()), monitor)
    resource.create.__dict__[_MARK] = resource.__dict__[_MARK]
    return resource


def _sync(create: Any, begin: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        call = begin(kwargs)
        try:
            answer = create(*args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        _told(call, answer, kwargs)
        return answer

    return run


def _async(create: Any, begin: Any) -> Any:
    async def run(*args: Any, **kwargs: Any) -> Any:
        call = begin(kwargs)
        try:
            answer = await create(*args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        _told(call, answer, kwargs)
        return answer

    return run


def _begin(monitor: Monitor, client: Any, labels: dict[str, str | None], kwargs: dict[str, Any]) -> CallContext:
    model = labels.get("model") or kwargs.get("model")
    provider = labels.get("provider") or monitor.provider
    call = CallContext(monitor, kwargs.get("input"), model, provider, labels.get("tenant"), labels.get("source"))
    try:
        url = client.base_url
        call.server(url.host, url.port or {"https": 443, "http": 80}.get(url.scheme))
        if provider is None:
            azure = any(base.__name__ == "BaseAzureClient" for base in type(client).__mro__)
            call.provider = providers.AZURE_OPENAI if azure else providers.of_host(url.host)
        asked = kwargs.get("dimensions"), kwargs.get("encoding_format")
        # What is not given is an object of the client's own, and no number or string.
        call.response(
            dimensions=asked[0] if isinstance(asked[0], int) else None,
            encoding_format=asked[1] if isinstance(asked[1], str) else None,
        )
    except Exception as error:
        monitor._trouble("the client's address could not be read", error)
    call.begin()
    return call


def _told(call: CallContext, answer: Any, kwargs: dict[str, Any]) -> None:
    """What the answer says; ends the call. The time ends before the answer is looked at."""
    try:
        call.stop()
        if type(answer).__name__ == "LegacyAPIResponse":
            answer = answer.parse()  # kept there: the caller's own parse gives the same object
        data = getattr(answer, "data", None)
        if isinstance(data, list) and data:
            if call.text_count is None:
                call.texts(len(data))
            vector = getattr(data[0], "embedding", None)
            if isinstance(vector, list):
                call.response(dimensions=len(vector))
            elif isinstance(vector, str):  # base64 of numbers of four bytes, as asked for
                call.response(dimensions=len(vector.rstrip("=")) * 3 // 16)
        model = getattr(answer, "model", None)
        call.response(model=model if isinstance(model, str) else None)
        usage = getattr(answer, "usage", None)
        tokens = getattr(usage, "prompt_tokens", None) or getattr(usage, "total_tokens", None)
        if tokens:  # some servers say 0 for "not counted"
            call.tokens = None
            call.usage(tokens)
    except Exception as error:
        call._monitor._trouble("an answer could not be read", error)
    finally:
        call.end()
