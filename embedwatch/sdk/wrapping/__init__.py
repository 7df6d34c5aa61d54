"""Clients measured in one line: known ones by an adapter, any other by the names of its methods.

`adapters` is asked from the front: the first whose `matches(client)` is true wraps it. An adapter imports no client's
package to find out; it looks at the client's type and its module's name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from embedwatch.sdk.wrapping.known import KNOWN
from embedwatch.sdk.wrapping.proxy import Proxy, is_measured_by, is_proxy, proxied

if TYPE_CHECKING:
    from embedwatch.sdk.monitor import Monitor

__all__ = ["METHODS", "Adapter", "Proxy", "adapters", "is_proxy", "wrap"]

log = logging.getLogger("embedwatch.sdk")

Adapter = tuple[Callable[[Any], bool], Callable[..., Any]]

#: `(matches(client) -> bool, wrap(monitor, client, **labels) -> client)`; labels are model, provider, tenant, source.
adapters: list[Adapter] = list(KNOWN)

#: What a client of no known kind is measured by.
METHODS = ("embed_single", "embed_batch", "encode")


def wrap(monitor: Monitor, client: Any, labels: Mapping[str, str | None]) -> Any:
    """The client, measured. Never raises: a client that cannot be wrapped comes back as it is, and the log says so."""
    try:
        return _wrap(monitor, client, labels)
    except Exception as error:
        monitor._trouble(f"{type(client).__name__} could not be wrapped and is not measured", error)
        return client


def _wrap(monitor: Monitor, client: Any, labels: Mapping[str, str | None]) -> Any:
    if is_measured_by(client, monitor):
        return client
    for matches, adapt in tuple(adapters):
        try:
            if matches(client):
                return adapt(monitor, client, **labels)
        except Exception as error:
            monitor._trouble(f"the adapter {getattr(adapt, '__qualname__', adapt)} failed", error)
    names = [name for name in METHODS if callable(getattr(client, name, None))]
    if names and not isinstance(client, type) and type(client).__module__ != "builtins":  # a str has `encode`
        return proxied(monitor, client, names, labels)
    monitor._trouble(
        f"{type(client).__name__} has none of {', '.join(METHODS)} and is not measured: use Monitor.track on the "
        "function that embeds, or Monitor.call around it",
        None,
    )
    return client
