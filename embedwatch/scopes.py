"""Scopes as text, and as people ask for them. Everything, one model, one tenant, or one model of one tenant."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, unquote

from embedwatch.errors import ConfigError
from embedwatch.yamlfile import closest

Scope = tuple[tuple[str, str], ...]

ALL: Scope = ()
#: Takes what comes after the cap on scopes, so that memory stays bounded and nothing goes uncounted.
OTHER: Scope = (("scope", "other"),)
DIMENSIONS = ("model", "tenant")
#: Of the scopes that an error names.
MOST_NAMED = 20


# Asked for with the same few names, several times an event or tick.
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
        raise ValueError(f"{_cut(key)} is not a scope such as all or model=NAME,tenant=NAME")
    return tuple((dimension, unquote(value)) for dimension, _, value in parts)


def asked_scope(text: str) -> Scope:
    """The scope that somebody asks for, its dimensions in any order. Raises ValueError for what can be no scope."""
    if any("\ud800" <= char <= "\udfff" for char in text):  # a command line that is no UTF-8
        raise ValueError(f"{_cut(text)} is not text in UTF-8")
    scope = tuple(sorted(parse_scope(text)))
    names = [dimension for dimension, _ in scope]
    if scope != OTHER and (len(set(names)) < len(names) or not set(names) <= set(DIMENSIONS)):
        raise ValueError(
            f"{_cut(text)} is not a scope such as all or model=NAME,tenant=NAME: model and tenant once each, and no "
            "other"
        )
    return scope


def scope_option(text: str) -> str:
    """The key of the scope that `--scope` asks for. Raises `ConfigError`."""
    try:
        return scope_key(asked_scope(text))
    except ValueError as error:
        raise ConfigError(f"--scope: {error}") from None


def unknown_scope(key: str, known: Iterable[str]) -> str:
    """Nothing was measured of it: which scopes there are, for an error."""
    names = sorted(known, key=lambda name: (name != "all", name))
    near = closest(key, names)
    if not near.startswith("; did you mean"):
        more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
        near = f"; there are: {'; '.join(names[:MOST_NAMED])}{more}" if names else "; nothing was measured yet"
    return f"nothing was measured of scope {_cut(key)}{near}"


def _cut(text: str) -> str:
    """As it is shown: what does not print takes four characters or more."""
    shown = repr(text[:200])
    return shown if len(text) <= 200 and len(shown) <= 300 else f"{shown[:200]}..."
