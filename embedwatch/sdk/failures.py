"""What an exception of an embedding client is, as one of the bounded classes of `events`. Pure; imports no client.

Clients are many and most are not installed: classes are told by the name of the type and of its bases, and by the
status code of the answer that most clients hang on their errors. The text of an error is looked at for memory alone.

A call that its caller gave up (a task cancelled, Ctrl-C, a generator closed, the end of the program) is `cancelled`. So
is one that a time limit of the caller's own ended, where that works by cancelling (`asyncio.timeout`): from within the
two look the same. A time limit of the client is `timeout`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from embedwatch.events import ErrorClass

MAX_NAME_CHARS = 100

#: By a part of the lower-case name of the type or of one of its bases; the first that fits.
_BY_NAME: tuple[tuple[str, ErrorClass], ...] = (
    ("cancel", "cancelled"),
    ("timeout", "timeout"),
    ("timedout", "timeout"),
    ("deadlineexceeded", "timeout"),
    ("ratelimit", "rate_limited"),
    ("toomanyrequests", "rate_limited"),
    ("throttl", "rate_limited"),
    ("resourceexhausted", "rate_limited"),
    ("quota", "rate_limited"),
    ("outofmemory", "out_of_memory"),
    ("memoryerror", "out_of_memory"),
    ("contextwindow", "text_too_large"),
    ("contextlength", "text_too_large"),
    ("notfound", "unknown_model"),
    ("responsevalidation", "bad_response"),
    ("jsondecode", "bad_response"),
    ("decodeerror", "bad_response"),
    ("connect", "connection"),
    ("unavailable", "connection"),
    ("network", "connection"),
    ("socket", "connection"),
    ("gaierror", "connection"),
    ("sslerror", "connection"),
    ("transporterror", "connection"),
    ("protocolerror", "connection"),
    ("readerror", "connection"),
    ("writeerror", "connection"),
)
_BY_STATUS: dict[int, ErrorClass] = {
    404: "unknown_model", 408: "timeout", 413: "text_too_large", 429: "rate_limited", 499: "cancelled",
    504: "timeout",
}  # fmt: skip

#: Beside what has "cancel" in its name: asyncio's, those of futures, trio and anyio.
_GIVEN_UP = (GeneratorExit, KeyboardInterrupt, SystemExit)

#: The server said no before it embedded anything. 408 and 499 are none: by then it may be at work.
_REFUSED = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
#: By a part of the lower-case name, of what a client says when it never had a connection, and when it had one.
_UNSENT = (
    "connecterror", "connecttimeout", "connectorerror", "connectionrefused", "newconnection", "nameresolution",
    "endpointconnection", "gaierror", "pooltimeout",
)  # fmt: skip
_SENT = ("readtimeout", "readerror", "writetimeout", "writeerror", "remoteprotocol", "disconnect", "connectionreset")
MAX_CAUSES = 8


def classify(error: BaseException) -> ErrorClass:
    """The class of any exception. Never raises, whatever the exception's own attributes do."""
    if isinstance(error, _GIVEN_UP):  # a status of theirs would be the exit status of the process
        return "cancelled"
    status = _status(error)
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, MemoryError):
        return "out_of_memory"
    if isinstance(error, ConnectionError):
        return "connection"
    named = _named(_names(type(error)))
    if named is not None:
        return named
    if isinstance(error, RuntimeError):
        # torch raises a plain RuntimeError when the allocator of a CPU gives up, and of some devices.
        text = _text(error)
        memory = "out of memory" in text or "can't allocate memory" in text
        return "out_of_memory" if memory else "model_error"
    return "model_error" if isinstance(error, Exception) else "other"


def never_billed(error: BaseException) -> bool:
    """Whether nobody bills what failed so: it was refused before any text was read, or was never sent.

    False is "may have been billed": a time limit, a connection that broke, an answer of 5xx, a call that was given up,
    and whatever is not known.
    """
    if isinstance(error, _GIVEN_UP):
        return False
    status = _status(error)
    if status is not None:
        return status in _REFUSED
    for cause in _causes(error):
        if isinstance(cause, ConnectionRefusedError):
            return True
        if isinstance(cause, ConnectionError):
            return False
        for name in _names(type(cause)):
            if any(part in name for part in _UNSENT):
                return True
            if any(part in name for part in _SENT):
                return False
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was made from, the nearest first."""
    found: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if found is None:
            return
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def name_of(error: BaseException) -> str:
    """The exception's class, bounded. No message: it may hold a user's text."""
    return str(type(error).__name__)[:MAX_NAME_CHARS]


def _named(names: Iterable[str]) -> ErrorClass | None:
    for name in names:
        for part, error_class in _BY_NAME:
            if part in name:
                return error_class
    return None


def _names(kind: type) -> list[str]:
    """Of the type and its bases, in the order of inheritance; Python's own are no name of a client."""
    return [base.__name__.lower() for base in kind.__mro__ if base.__module__ != "builtins"]


def _status(error: BaseException) -> int | None:
    """The HTTP status that openai, httpx, requests, litellm, cohere, botocore and others carry along."""
    try:
        for holder in (error, getattr(error, "response", None)):
            for name in ("status_code", "http_status", "code", "status"):
                value = getattr(holder, name, None)
                if isinstance(value, int) and 100 <= value <= 599:
                    return int(value)
            if isinstance(holder, dict):
                value = holder.get("ResponseMetadata", {}).get("HTTPStatusCode")
                if isinstance(value, int):
                    return value
    except Exception:
        return None
    return None


def _text(error: BaseException) -> str:
    try:
        return str(error).lower()
    except Exception:
        return ""
