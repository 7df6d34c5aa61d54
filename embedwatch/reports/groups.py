"""The sums of a day by model and tenant, such that the rows add up to the whole. Pure.

The ledger has sums of everything, of each model, each tenant, and each model of a tenant. Texts without a tenant are in
no tenant's sums, and above the cap on scopes sums are under `other`. So what the rows leave is a row of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from embedwatch.reports.kept import Sums
from embedwatch.scopes import ALL, OTHER, Scope, parse_scope, scope_key

Names = tuple[str | None, ...]
"""Of the dimensions asked for, in their order; None: none of those that have a name."""


def grouped(scopes: Mapping[str, Sums], base: Scope, dimensions: Sequence[str]) -> dict[Names, Sums]:
    """The sums of `base` by these dimensions (model, tenant), of which it fixes none. They add up to it exactly."""
    whole = scopes.get(scope_key(base))
    if whole is None:
        return {}
    if tuple(dimensions) == ("tenant", "model"):
        # What a model has without a tenant is known; what has no tenant by model is not, from tenants' sums.
        return {(tenant, model): sums for (model, tenant), sums in grouped(scopes, base, ("model", "tenant")).items()}
    found = [(parse_scope(key), sums) for key, sums in scopes.items()]
    rows = _by(found, base, tuple(dimensions))
    if len(dimensions) == 2:
        first = _by(found, base, (dimensions[0],))
        for (name,), sums in first.items():
            rest = sums.without(row for names, row in rows.items() if names[0] == name)
            if rest.any():
                rows[name, None] = rest
        rest = whole.without(first.values())
    else:
        rest = whole.without(rows.values())
    if rest.any():
        rows[(None,) * len(dimensions)] = rest
    return rows


def _by(found: Sequence[tuple[Scope, Sums]], base: Scope, dimensions: tuple[str, ...]) -> dict[Names, Sums]:
    fixed = dict(base)
    wanted = {*fixed, *dimensions}
    out: dict[Names, Sums] = {}
    for scope, sums in found:
        names = dict(scope)
        if scope in (ALL, OTHER) or set(names) != wanted or any(names[d] != value for d, value in fixed.items()):
            continue
        out[tuple(names[dimension] for dimension in dimensions)] = sums
    return out


def has_overflow(scopes: Mapping[str, Sums]) -> bool:
    """Whether there were more scopes than the agents tell apart."""
    return scope_key(OTHER) in scopes
