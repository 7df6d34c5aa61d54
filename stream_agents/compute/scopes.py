"""Scopes: whose numbers. Everything, one model, one tenant, or one model of one tenant."""

from __future__ import annotations

from functools import lru_cache

from embedwatch.scopes import ALL, OTHER, Scope, asked_scope, parse_scope, scope_key

__all__ = ["ALL", "OTHER", "Scope", "asked_scope", "parse_scope", "scope_key", "scopes_of"]


# Asked for with the same few names, several times an event.
@lru_cache(maxsize=4096)
def scopes_of(model: str, tenant: str | None) -> tuple[Scope, ...]:
    """The scopes an event counts in."""
    if not tenant:  # an empty name is none: Prometheus, too, takes an empty label for an absent one
        return (ALL, (("model", model),))
    return (ALL, (("model", model),), (("tenant", tenant),), (("model", model), ("tenant", tenant)))
