"""A stand-in for a client of any kind: some methods are measured, all else is the client's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from embedwatch.sdk.wrapping.measured import measured

if TYPE_CHECKING:
    from embedwatch.sdk.monitor import Monitor

_CLIENT = "_embedwatch_client"
_METHODS = "_embedwatch_methods"
_MONITORS = "_embedwatch_monitors"
#: Python looks these up on the type, past `__getattr__`.
_SPECIAL = (
    "__call__", "__len__", "__iter__", "__next__", "__getitem__", "__setitem__", "__delitem__", "__contains__",
    "__enter__", "__exit__", "__aenter__", "__aexit__", "__aiter__", "__anext__", "__await__", "__bool__", "__eq__",
    "__hash__", "__lt__", "__le__", "__gt__", "__ge__", "__str__", "__repr__", "__format__", "__int__", "__index__",
    "__float__", "__fspath__",
)  # fmt: skip


class Proxy:
    """Looks like its client: `isinstance`, attributes, operators, `repr`. A copy or pickle of it is the client itself,
    which is not measured."""

    def __init__(self, client: Any, methods: dict[str, Any], monitors: tuple[Monitor, ...]) -> None:
        object.__setattr__(self, _CLIENT, client)
        object.__setattr__(self, _METHODS, methods)
        object.__setattr__(self, _MONITORS, monitors)
        for name, method in methods.items():
            object.__setattr__(self, name, method)

    def __getattr__(self, name: str) -> Any:
        return getattr(_client(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_client(self), name, value)
        if name in object.__getattribute__(self, _METHODS):  # the caller's own from now on
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_client(self), name)

    @property
    def __class__(self) -> Any:
        return type(_client(self))

    @__class__.setter
    def __class__(self, kind: type) -> None:
        _client(self).__class__ = kind

    def __dir__(self) -> Iterable[str]:
        return dir(_client(self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _itself, (_client(self),)


def proxied(
    monitor: Monitor,
    client: Any,
    names: Iterable[str],
    labels: Mapping[str, str | None],
    *,
    local: bool | None = None,
) -> Any:
    """The client with the methods of these names measured. The model is told by the client, where nobody else does."""
    labels = dict(labels)
    if labels.get("model") is None and monitor.model is None:
        labels["model"] = _model_of(original(client))
    methods = {name: measured(monitor, getattr(client, name), labels, bound=True, local=local) for name in names}
    return stand_in(monitor, client, methods)


def stand_in(monitor: Monitor, client: Any, methods: dict[str, Any]) -> Any:
    """The client with these methods in place of its own. Of a stand-in for another monitor they go around its own."""
    own, monitors = original(client), (*_monitors(client), monitor)
    before = object.__getattribute__(client, _METHODS) if is_proxy(client) else {}
    return _kind(type(own))(own, {**before, **methods}, monitors)  # type: ignore[arg-type]


def is_proxy(client: Any) -> bool:
    return issubclass(type(client), Proxy)


def original(client: Any) -> Any:
    """The client that a stand-in stands for; any other is that itself."""
    return _client(client) if is_proxy(client) else client


def is_measured_by(client: Any, monitor: Monitor) -> bool:
    """Whether it is a stand-in of this monitor's."""
    return any(each is monitor for each in _monitors(client))


def _monitors(client: Any) -> tuple[Monitor, ...]:
    found: tuple[Monitor, ...] = object.__getattribute__(client, _MONITORS) if is_proxy(client) else ()
    return found


@functools.lru_cache(maxsize=256)
def _kind(of: type) -> type[Proxy]:
    """A proxy with the operators that the client's type has."""
    special: dict[str, Any] = {}
    for name in _SPECIAL:
        own = getattr(of, name, None)
        if own is None:
            if name == "__hash__":
                special[name] = None
        elif own is not getattr(object, name, None) or name in ("__repr__", "__str__", "__hash__"):
            special[name] = _handing_on(name)
    if getattr(of, "__eq__", None) is getattr(object, "__eq__", None):
        special["__eq__"] = _same
    return type(f"Measured{of.__name__}", (Proxy,), special)


def _handing_on(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = getattr(_client(self), name)(*args, **kwargs)
        return self if found is _client(self) and name in ("__enter__", "__iter__") else found

    async def entered(self: Any, *args: Any) -> Any:
        found = await getattr(_client(self), name)(*args)
        return self if found is _client(self) else found

    return entered if name == "__aenter__" else method


def _same(self: Any, other: Any) -> bool:
    return _client(self) is (_client(other) if is_proxy(other) else other)


def _client(proxy: Any) -> Any:
    return object.__getattribute__(proxy, _CLIENT)


def _itself(client: Any) -> Any:
    return client


def _model_of(client: Any) -> str | None:
    for name in ("model", "model_name", "model_id"):
        value = inspect.getattr_static(client, name, None)
        if isinstance(value, str):
            return value
    return None
