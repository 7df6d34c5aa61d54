"""What became of an alert's firings for one receiver, since the last digest. Pure; stored in the alert's own record.

An alert's record is written as a whole, so the counts stand in it: kill -9 counts nothing twice and forgets nothing.
They are of a period, by its number. Those of an earlier one are in its digest, and only what was open then is carried
on: nothing is written to begin anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

#: How a firing left the books: `alone` and the two bundles were told as firing, `merged` with its end, the others not.
#: `capped` is a bundle of what would not have fitted the cap one by one. `rerouted`: its route leads elsewhere now.
WAYS = ("alone", "bundled", "capped", "merged", "silenced", "inhibited", "snoozed", "rerouted")
_COUNTS = ("carried", "fired", *WAYS, "resolved", "flapped", "changes")


class Account(Struct, frozen=True, omit_defaults=True):
    """One firing is one episode of one alert. `carried` were open when the period began.

    `resolved`, `flapped` (how often it began to come and go) and `changes` (how often it then did) are beside the sum.
    """

    period: int
    carried: int = 0
    fired: int = 0
    alone: int = 0
    bundled: int = 0
    capped: int = 0
    merged: int = 0
    silenced: int = 0
    inhibited: int = 0
    snoozed: int = 0
    rerouted: int = 0
    resolved: int = 0
    flapped: int = 0
    changes: int = 0

    @property
    def settled(self) -> int:
        return sum(getattr(self, way) for way in WAYS)

    @property
    def open(self) -> int:
        """Neither told nor over: they wait, or are held back."""
        return self.carried + self.fired - self.settled

    @property
    def empty(self) -> bool:
        return not any(getattr(self, name) for name in _COUNTS)


def rolled(account: Account, period: int) -> Account:
    """As it stands in this period."""
    return account if account.period == period else Account(period, carried=account.open)


def in_period(accounts: Mapping[str, Account], period: int) -> dict[str, Account]:
    """Those that say something of this period."""
    found = {receiver: rolled(account, period) for receiver, account in accounts.items()}
    return {receiver: account for receiver, account in found.items() if not account.empty}


def plus(account: Account, **more: int) -> Account:
    return replace(account, **{name: getattr(account, name) + count for name, count in more.items()})


def total(accounts: Iterable[Account], period: int) -> Account:
    sums = dict.fromkeys(_COUNTS, 0)
    for account in accounts:
        for name in _COUNTS:
            sums[name] += getattr(account, name)
    return Account(period, **sums)
