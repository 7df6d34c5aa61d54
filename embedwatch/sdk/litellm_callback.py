"""LiteLLM: `litellm.callbacks = [LiteLLMCallback(monitor)]`.

LiteLLM tells callbacks of calls that are over, some of them in a thread of its own, so a call counts with the times
that LiteLLM measured. Only embedding calls are counted, each once, and its retries with it. What LiteLLM thinks a call
cost counts only where the monitor knows no price for the model. Do not also put `Monitor.call` around
`litellm.embedding`: that would count it twice.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from litellm.integrations.custom_logger import CustomLogger

from embedwatch.sdk import providers
from embedwatch.sdk.context import CallContext

if TYPE_CHECKING:
    from embedwatch.sdk.monitor import Monitor

_CALLS = ("embedding", "aembedding")
#: Calls of which the beginning is kept until LiteLLM tells of their end, and ends that are kept to count none twice.
_HELD = 10_000


class LiteLLMCallback(CustomLogger):
    """Tells a monitor of LiteLLM's embedding calls, sync and async."""

    def __init__(
        self, monitor: Monitor, *, provider: str | None = None, tenant: str | None = None, source: str | None = None
    ) -> None:
        super().__init__()
        self._monitor = monitor
        # LiteLLM takes two of the same class for one, unless a plain value of theirs differs.
        self.monitor_id = id(monitor)
        self._labels = provider, tenant, source
        self._lock = threading.Lock()
        self._begun: OrderedDict[str, dict[str, Any] | None] = OrderedDict()
        self._told: OrderedDict[str, None] = OrderedDict()

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: dict[str, Any]) -> None:
        """In the caller's context: where its trace is."""
        try:
            if kwargs.get("call_type") not in _CALLS:
                return
            contexts = self._monitor._begin()
            with self._lock:
                self._begun.setdefault(str(kwargs.get("litellm_call_id")), contexts)
                if len(self._begun) > _HELD:
                    self._begun.popitem(last=False)
        except Exception as error:
            self._monitor._trouble("a call of LiteLLM could not be begun", error)

    def log_success_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        """After `litellm.embedding`."""
        self._tell(kwargs, response_obj, start_time, end_time, failed=False)

    def log_failure_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        """After `litellm.embedding` raised."""
        self._tell(kwargs, response_obj, start_time, end_time, failed=True)

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """After `litellm.aembedding`."""
        self._tell(kwargs, response_obj, start_time, end_time, failed=False)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """After `litellm.aembedding` raised."""
        self._tell(kwargs, response_obj, start_time, end_time, failed=True)

    def _tell(self, kwargs: dict[str, Any], answer: Any, start: Any, end: Any, *, failed: bool) -> None:
        try:
            if kwargs.get("call_type") not in _CALLS:
                return
            contexts, first = self._first(kwargs.get("litellm_call_id"), start, failed)
            if not first:
                return
            provider, tenant, source = self._labels
            named = provider or self._monitor.provider or providers.of_litellm(kwargs.get("custom_llm_provider"))
            call = CallContext(self._monitor, _texts(kwargs), kwargs.get("model"), named, tenant, source)
            call.took(*_times(start, end))
            call.contexts = call.contexts if contexts is None else contexts
            error = kwargs.get("exception") if failed else None
            if failed:
                call.end(error if isinstance(error, BaseException) else RuntimeError("a call of LiteLLM failed"))
                return
            _read(call, kwargs, answer)
            call.end()
        except Exception as trouble:
            self._monitor._trouble("a call of LiteLLM could not be recorded", trouble)

    def _first(self, call_id: Any, start: Any, failed: bool) -> tuple[dict[str, Any] | None, bool]:
        """What was kept at the beginning, and whether this is the first that is told of the call.

        A router's tries may share an id that the caller gave: they are told apart by their starts.
        """
        told = f"{call_id} {start} {failed}"
        with self._lock:
            contexts = self._begun.pop(str(call_id), None)
            if call_id is not None:
                if told in self._told:
                    return contexts, False
                self._told[told] = None
                if len(self._told) > _HELD:
                    self._told.popitem(last=False)
        return contexts, True


def _times(start: Any, end: Any) -> tuple[float, float]:
    """Unix time of the start, and seconds."""
    begun = start.timestamp() if isinstance(start, datetime) else float(start)
    ended = end.timestamp() if isinstance(end, datetime) else float(end)
    return begun, ended - begun


def _texts(kwargs: dict[str, Any]) -> Any:
    """What was asked for. Of some providers LiteLLM tells it as messages only, one for each text."""
    given, messages = kwargs.get("input"), kwargs.get("messages")
    if given is not None or not isinstance(messages, list):
        return given
    return [message.get("content") if isinstance(message, dict) else None for message in messages] or None


def _read(call: CallContext, kwargs: dict[str, Any], answer: Any) -> None:
    data = getattr(answer, "data", None)
    rows = len(data) if isinstance(data, list) else None
    asked = call.text_count or 0
    tokens = getattr(getattr(answer, "usage", None), "prompt_tokens", None)
    # LiteLLM takes the texts that its cache had out of the input, all of them where it had all.
    all_hits = kwargs.get("cache_hit") is True
    hits = (rows or asked) if all_hits else max((rows or asked) - asked, 0) if asked else 0
    if rows is not None and rows > asked:
        call.text_count = rows
    if all_hits or tokens:
        call.tokens = None  # those of an input that is tokens already
    if hits:
        call.cache(hits=hits, tokens_saved=tokens if all_hits else None)
    if tokens and not all_hits:
        call.usage(tokens)
    # LiteLLM says 0 for a server of one's own: nobody sells it, which does not make it free.
    call.listed_cost(None if all_hits else kwargs.get("response_cost") or None, "litellm")
    first = data[0] if isinstance(data, list) and data else None
    vector = first.get("embedding") if isinstance(first, dict) else getattr(first, "embedding", None)
    asked_format = (kwargs.get("optional_params") or {}).get("encoding_format")
    call.response(
        model=getattr(answer, "model", None),
        dimensions=len(vector) if isinstance(vector, list) else None,
        encoding_format=asked_format if isinstance(asked_format, str) else None,
    )
    base = urlsplit(str((kwargs.get("litellm_params") or {}).get("api_base") or ""))
    if base.hostname:
        call.server(base.hostname, base.port or {"https": 443, "http": 80}.get(base.scheme))
