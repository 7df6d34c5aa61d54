"""Keeps the accounts of an alert: what its step from one state to the next means for each receiver. Pure.

The books follow from the states and from nothing else: what is open is what the state shows to be open. What left it
without being delivered was held back, and the state says why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from msgspec.structs import replace

from alerting.digest_account import Account, plus, rolled
from alerting.outbox import will_know
from alerting.quiet import QuietKind
from alerting.states import AlertState, Owed
from embedwatch.events import Verdict

Route = Callable[[Verdict], Collection[str]]
HELD: dict[QuietKind, str] = {"silence": "silenced", "inhibited": "inhibited", "snoozed": "snoozed"}


def booked(
    before: AlertState | None,
    after: AlertState,
    period: int,
    receivers: Sequence[str],
    route: Route | None,
    delivered: Owed | None = None,
) -> AlertState:
    """`after` with its accounts. `delivered` is the message whose delivery made `after` out of `before`.

    `before` is `after` where nothing happened and only the routes may be others than before.
    """
    accounts: dict[str, Account] = {}
    routed = receivers if route is None else route(after.breach or after.verdict)
    for receiver in receivers:
        account = _booked(before, after, period, receiver, receiver in routed, delivered)
        if not account.empty:
            accounts[receiver] = account
    return after if accounts == after.accounts else replace(after, accounts=accounts)


def matters(before: AlertState | None, after: AlertState) -> bool:
    """Something the books know of may have changed."""
    if before is None:
        return after.episode > 0
    return (
        before.episode != after.episode
        or before.active != after.active
        or before.told != after.told
        or before.flapping != after.flapping
        or [entry.number for entry in before.owed] != [entry.number for entry in after.owed]
    )


def waiting(state: AlertState, receiver: str) -> int:
    """Firings that are owed to the receiver."""
    counts = {"firing": 1, "cleared": 0}
    entries = [entry for entry in state.owed if entry.receiver == receiver]
    return sum(e.facts.episodes if e.kind == "cleared" else counts.get(e.kind, 0) for e in entries)


def held(state: AlertState, receiver: str, *, routed: bool) -> bool:
    """It fires, the receiver is to know, and nothing is owed to it: something keeps it quiet."""
    return state.active and routed and not will_know(state, receiver)


def concerns(state: AlertState, receiver: str, *, routed: bool) -> bool:
    """It is the receiver's business that the alert fires."""
    return state.active and (routed or will_know(state, receiver))


def _booked(
    before: AlertState | None, after: AlertState, period: int, receiver: str, routed: bool, delivered: Owed | None
) -> Account:
    known = after.accounts.get(receiver)
    if known is None:
        known = Account(period, carried=0 if before is None else _open(before, receiver, routed))
    account = rolled(known, period)
    if before is not None and before is not after:
        account = _happened(account, before, after, receiver, routed)
    if routed and after.episode > (0 if before is None else before.episode):
        account = plus(account, fired=1)
    if delivered is not None and delivered.receiver == receiver:
        account = plus(account, **_way(delivered))
    gone = account.open - _open(after, receiver, routed)
    if gone > 0:
        quiet = after.quiet or (None if before is None else before.quiet)
        elsewhere = quiet is None or (after.active and not routed)
        return plus(account, **{"rerouted" if elsewhere or quiet is None else HELD[quiet.kind]: gone})
    return plus(account, fired=-gone)  # it became this receiver's business while it fired


def _open(state: AlertState, receiver: str, routed: bool) -> int:
    return waiting(state, receiver) + held(state, receiver, routed=routed)


def _happened(account: Account, before: AlertState, after: AlertState, receiver: str, routed: bool) -> Account:
    if before.active and not after.active and concerns(before, receiver, routed=routed):
        account = plus(account, resolved=1)
    if after.flapping is not None and concerns(after, receiver, routed=routed):
        if before.flapping is None:
            return plus(account, flapped=1, changes=after.flapping.changes)
        return plus(account, changes=max(0, after.flapping.changes - before.flapping.changes))
    return account


def _way(entry: Owed) -> dict[str, int]:
    """How a delivered message settles what was open."""
    if entry.kind == "cleared":
        return {"merged": entry.facts.episodes}
    if entry.kind != "firing":
        return {}
    if entry.bundle is None:
        return {"alone": 1}
    return {"capped" if entry.capped else "bundled": 1}
