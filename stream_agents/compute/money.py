"""A day's money beside its sums, as plain data: machines, forecast, burn and budgets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from embedwatch.events import NANO_USD_PER_USD
from embedwatch.pricing import PriceBook, known_nano_usd, to_usd
from embedwatch.rules import Rule
from stream_agents.compute.allocated import allocated_ms
from stream_agents.compute.budget import BURN_WINDOWS, Burn, Forecast, budgets_of
from stream_agents.compute.ledger import DayTotals
from stream_agents.compute.scopes import ALL, Scope
from stream_agents.compute.world import World


def machine_rows(world: World, day: str, scope: Scope, totals: DayTotals) -> dict[str, Any]:
    """Seconds that workers were there, and what that costs for models paid by the machine's hour, beside the part of
    it that was booked as busy (None where nothing was, and something that may run by the hour has no price). Of a
    tenant there is no such thing: machines are not divided among tenants."""
    busy = known_nano_usd(totals.gpu_hour_nano_usd, totals.unpriced_tokens)
    alive = allocated_ms((state.allocation for state in world.partitions.values()), day)
    models = None
    if scope == ALL:
        models = list(alive)
    elif len(scope) == 1 and scope[0][0] == "model":
        models = [scope[0][1]]
    cost = None
    if models is not None and world.gpu_usd_per_hour is not None:
        price = PriceBook(gpu_usd_per_hour=world.gpu_usd_per_hour).quote("", local=True)
        # A model that is paid by the token, or has done nothing all day, does not say that its machine is paid for.
        paid = [model for model in models if world.day(day, (("model", model),)).gpu_hour_nano_usd]
        cost = price.cost(0, sum(alive.get(model, 0) for model in paid) / 1000.0) if paid else None
    return {
        "gpu_hour_nano_usd": busy,
        "busy_cost_usd": to_usd(busy),
        "allocated_seconds": None if models is None else sum(alive.get(model, 0) for model in models) / 1000.0,
        "allocated_nano_usd": cost,
        "allocated_cost_usd": to_usd(cost),
    }


def budget_rows(
    world: World, day: str, scope: Scope, totals: DayTotals, now: float | None, rules: Iterable[Rule]
) -> dict[str, Any]:
    """Forecast, burn, and each budget of `rules` that judges this scope. Where nothing spent has a price, nothing is
    known of any budget; where a part has none, it is in none of these numbers."""
    expected: Forecast | None = None
    burns: tuple[Burn, ...] = ()
    if now is not None and day == world.today(now):
        expected, burns = world.forecast(now, scope), world.burn(now, scope)
    forecast_usd = None if expected is None else expected.usd
    spent_usd = to_usd(known_nano_usd(totals.cost_nano_usd, totals.unpriced_tokens))
    budgets = []
    for rule in budgets_of(rules, scope):
        usd = rule.threshold
        budgets.append(
            {
                "rule": rule.name,
                "budget_usd": usd,
                "remaining_usd": None if spent_usd is None else usd - spent_usd,  # below 0: overspent
                "spent_pct": 100.0 * spent_usd / usd if usd and spent_usd is not None else None,
                "forecast_pct": 100.0 * forecast_usd / usd if usd and forecast_usd is not None else None,
                **{f"burn_{window.name}_pct": None for window in BURN_WINDOWS},
                **{f"burn_{one.window.name}_pct": one.pct_of(usd) for one in burns},
            }
        )
    return {
        "forecast_usd": forecast_usd,
        "forecast_basis": None if expected is None else expected.basis,
        "forecast_reason": "the day is not today" if expected is None else expected.reason,
        "burn": {
            one.window.name: {
                "window_seconds": one.window.seconds,
                "usd": None if one.nano_usd is None else one.nano_usd / NANO_USD_PER_USD,
                "limit_pct": one.window.limit_pct,
                "note": one.note,
            }
            for one in burns
        },
        "budgets": budgets,
    }
