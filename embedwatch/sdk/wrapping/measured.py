"""A function around a function: each call of it is a call of the monitor. Arguments, results and errors unchanged."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from embedwatch.sdk.context import CallContext

if TYPE_CHECKING:
    from embedwatch.sdk.monitor import Monitor

Begin = Callable[[tuple[Any, ...], dict[str, Any]], CallContext]

#: What the first argument is called where it is given by name and the function's own name of it is not known.
_NAMES = ("texts", "text", "sentences", "input", "inputs", "documents")
_NO_AWAITABLES = frozenset({list, tuple, dict, str, bytes, int, float, type(None)})


def measured(
    monitor: Monitor,
    fn: Callable[..., Any],
    labels: Mapping[str, str | None],
    *,
    bound: bool,
    local: bool | None = None,
) -> Any:
    """`fn` with each call measured. `bound`: its first argument is the texts even where it is named `self`.

    What `fn` is decides what comes back: a function, a coroutine function, a generator or an async generator, which is
    measured until it is used up or closed. A plain function that returns an awaitable is measured until that is done.
    """
    begin = _beginner(monitor, fn, labels, bound, local)
    make = next((make for fits, make in _KINDS if fits(fn)), _plain)
    run = make(fn, begin)
    try:
        return functools.update_wrapper(run, fn)
    except Exception:
        return run


def _plain(fn: Any, begin: Begin) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        call = begin(args, kwargs)
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        if type(result) not in _NO_AWAITABLES and inspect.isawaitable(result):
            call.step_out()  # until somebody awaits it, the caller goes on with other things
            return _until_done(call, result)
        if call.text_count is None:  # as `_done` does, a step less
            _count_vectors(call, result)
        call.end()
        return result

    return run


def _coroutine(fn: Any, begin: Begin) -> Any:
    async def run(*args: Any, **kwargs: Any) -> Any:
        return await _until_done(begin(args, kwargs), fn(*args, **kwargs))

    return run


def _generator(fn: Any, begin: Begin) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        call = begin(args, kwargs)
        call.step_out()
        try:
            result = yield from _steps(call, fn(*args, **kwargs))
        except GeneratorExit:
            call.end()  # whoever reads it has enough
            raise
        except BaseException as error:
            call.end(error)
            raise
        call.end()
        return result

    return run


def _steps(call: CallContext, inner: Any) -> Any:
    """Like `yield from inner`, but between its steps the caller's own code does not run within the call."""
    step, value = inner.send, None
    while True:
        call.step_in()
        try:
            out = step(value)
        except StopIteration as stop:
            return stop.value
        finally:
            call.step_out()
        try:
            value = yield out
            step = inner.send
        except GeneratorExit:
            inner.close()
            raise
        except BaseException as error:
            step, value = inner.throw, error


def _async_generator(fn: Any, begin: Begin) -> Any:
    async def run(*args: Any, **kwargs: Any) -> Any:
        call = begin(args, kwargs)
        call.step_out()
        inner = fn(*args, **kwargs)
        step, value = inner.asend, None
        try:
            while True:
                call.step_in()
                try:
                    out = await step(value)
                except StopAsyncIteration:
                    break
                finally:
                    call.step_out()
                try:
                    value = yield out
                    step = inner.asend
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:
                    step, value = inner.athrow, error
        except GeneratorExit:
            call.end()
            raise
        except BaseException as error:
            call.end(error)
            raise
        call.end()

    return run


_KINDS = (
    (inspect.iscoroutinefunction, _coroutine),
    (inspect.isasyncgenfunction, _async_generator),
    (inspect.isgeneratorfunction, _generator),
)


def _beginner(monitor: Monitor, fn: Any, labels: Mapping[str, str | None], bound: bool, local: bool | None) -> Begin:
    model, provider, tenant, source = (labels.get(name) for name in ("model", "provider", "tenant", "source"))
    position, names = _where(fn, bound)

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallContext:
        texts = None
        if len(args) > position:
            texts = args[position]
        elif kwargs:
            texts = next((kwargs[name] for name in names if name in kwargs), None)
        call = CallContext(monitor, texts, model, provider, tenant, source)
        call.local = local
        call.begin()
        return call

    return begin


def _where(fn: Any, bound: bool) -> tuple[int, tuple[str, ...]]:
    """The position of the texts among the arguments, and their names."""
    try:
        parameters = list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        parameters = []
    position = int(not bound and bool(parameters) and parameters[0] in ("self", "cls"))
    return position, (*parameters[position : position + 1], *_NAMES)


def _done(call: CallContext, result: Any) -> Any:
    if call.text_count is None:
        _count_vectors(call, result)
    call.end()
    return result


def _count_vectors(call: CallContext, result: Any) -> None:
    """Of texts that have no length (a generator) there were as many as there are vectors. Never raises."""
    try:
        if not call.inner:
            rows = len(result) if type(result) in (list, tuple) else getattr(result, "shape", (None,))[0:1]
            call.texts(rows if isinstance(rows, int) else rows[0] if rows else 1)
    except Exception as error:
        call._monitor._trouble("the vectors could not be counted", error)


async def _until_done(call: CallContext, result: Any) -> Any:
    call.step_in()
    try:
        found = await result
    except BaseException as error:
        call.end(error)
        raise
    return _done(call, found)
