"""Scopes: whose numbers. Everything, one model, one tenant, or one model of one tenant."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from urllib.parse import quote

from embedwatch.scopes import ALL, OTHER, Scope, asked_scope, parse_scope, scope_key

__all__ = ["ALL", "OTHER", "Scope", "asked_scope", "parse_scope", "scope_key", "scopes_of", "short_name"]


#: A name is 256 characters at most, which may be 3 KB in a record: of a thousand scopes none could be written.
LONGEST_QUOTED = 240


@lru_cache(maxsize=8192)
def short_name(name: str) -> str:
    """The name as it is kept: one of more than 240 characters as a key (a letter outside ASCII is 6 to 12) is cut, and
    told from others by a hash."""
    if len(name) <= LONGEST_QUOTED // 12 or len(quote(name, safe=" ./:@-")) <= LONGEST_QUOTED:
        return name
    kept = ""
    for letter in name:
        if len(quote(kept + letter, safe=" ./:@-")) > LONGEST_QUOTED - 20:
            break
        kept += letter
    return f"{kept}..{hashlib.sha256(name.encode()).hexdigest()[:16]}"


# Asked for with the same few names, several times an event.
@lru_cache(maxsize=4096)
def scopes_of(model: str, tenant: str | None) -> tuple[Scope, ...]:
    """The scopes an event counts in."""
    model = short_name(model)
    if not tenant:  # an empty name is none: Prometheus, too, takes an empty label for an absent one
        return (ALL, (("model", model),))
    tenant = short_name(tenant)
    return (ALL, (("model", model),), (("tenant", tenant),), (("model", model), ("tenant", tenant)))
