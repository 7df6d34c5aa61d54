"""Scopes: whose numbers. Everything, one model, one tenant, or one model of one tenant."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, unquote

Scope = tuple[tuple[str, str], ...]

ALL: Scope = ()
#: Takes what comes after the cap on scopes, so that memory stays bounded and nothing goes uncounted.
OTHER: Scope = (("scope", "other"),)


# All three are asked for with the same few names, several times an event or tick.
@lru_cache(maxsize=4096)
def scopes_of(model: str, tenant: str | None) -> tuple[Scope, ...]:
    """The scopes an event counts in."""
    if tenant is None:
        return (ALL, (("model", model),))
    return (ALL, (("model", model),), (("tenant", tenant),), (("model", model), ("tenant", tenant)))


@lru_cache(maxsize=4096)
def scope_key(scope: Scope) -> str:
    """Text form, unambiguous whatever the names hold: `all`, `model=a,tenant=b`."""
    return ",".join(f"{dimension}={quote(value, safe=' ./:@-')}" for dimension, value in scope) or "all"


@lru_cache(maxsize=4096)
def parse_scope(key: str) -> Scope:
    """Inverse of `scope_key`. Raises ValueError for a text that is no scope."""
    if key == "all":
        return ALL
    parts = [part.partition("=") for part in key.split(",")]
    if not all(dimension and sign for dimension, sign, _ in parts):
        raise ValueError(f"{key!r} is not a scope such as all or model=NAME,tenant=NAME")
    return tuple((dimension, unquote(value)) for dimension, _, value in parts)
