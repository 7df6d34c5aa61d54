"""Spend by hour of days that are no longer kept, for forecasts: a record of its own, written when it has changed. Pure.

It changes when a day is forgotten, about once a day, and the state of its partition is written every second. The two
must fit together through any crash: a day that is in both would count twice, one that is in neither not at all. So each
history has a version, which the state names, and two places on the topic take turns: a new one is written beside the
one that the last state names, and only then comes the state that names it. Until that state is acknowledged the history
is frozen: whatever is written again is the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from stream_agents.compute.curve import add_curve, packed, unpacked

#: The same weekday of four weeks.
HISTORY_DAYS = 28
HISTORY_SCOPES = 100
HISTORY_VERSION = 1
PLACES = 2


class History(msgspec.Struct):
    """Of one partition. `spend`: scope, day, nano-USD by hour (`curve.packed`). `version` 0: there is no record of it.

    `missing`: the state names a record that is not there; forecasts begin anew.
    """

    spend: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    version: int = 0
    changed: bool = False
    frozen: bool = False
    missing: bool = False

    @classmethod
    def named(cls, version: int, records: Iterable[Mapping[str, Any]]) -> History:
        """The one that a state names, found among the records of its partition."""
        if version == 0:
            return cls()
        for record in records:
            if (record.get("v"), record.get("version")) == (HISTORY_VERSION, version):
                try:
                    return cls(msgspec.convert(record.get("spend"), dict[str, dict[str, str]]), version)
                except msgspec.ValidationError:
                    break
        return cls(version=version, missing=True)

    def freeze(self) -> dict[str, Any] | None:
        """What is to be written before the next state, which is to name it; None: nothing. It is not changed until
        `written`."""
        if self.changed and not self.frozen:
            self.version += 1
            self.changed, self.frozen = False, True
        if not self.frozen:
            return None
        return {"v": HISTORY_VERSION, "version": self.version, "spend": msgspec.to_builtins(self.spend)}

    def written(self) -> None:
        """The state that names it is acknowledged."""
        self.frozen = False

    def add(self, scope: str, day: str, hourly_nano_usd: list[int]) -> None:
        """A day of a scope that is forgotten now, or what came for it later."""
        days = self.spend.setdefault(scope, {})
        curve = unpacked(days.get(day, ""))
        add_curve(curve, hourly_nano_usd)
        days[day] = packed(curve)
        self.changed = True

    def trim(self, oldest: str) -> None:
        """Forget days before this one, and all but the largest scopes."""
        for scope, days in list(self.spend.items()):
            for day in [day for day in days if day < oldest]:
                del days[day]
                self.changed = True
            if not days:
                del self.spend[scope]
        if len(self.spend) > HISTORY_SCOPES:
            self.changed = True
            spent = {scope: sum(sum(unpacked(text)) for text in days.values()) for scope, days in self.spend.items()}
            largest = sorted(spent, key=lambda scope: (scope != "all", -spent[scope], scope))
            for scope in largest[HISTORY_SCOPES:]:
                del self.spend[scope]


def state_key(partition: int) -> str:
    """Of the record that holds the state of a partition."""
    return f"p{partition}"


def history_key(partition: int, version: int) -> str:
    return f"p{partition}-history-{version % PLACES}"


def is_state(key: str) -> bool:
    """Whether a record of the table is a state; else it is a history."""
    return "-" not in key


def partition_of(key: str) -> int:
    return int(key.removeprefix("p").partition("-")[0])


def parsed_key(key: bytes | None) -> str:
    """The table's key as it stands on the topic. One that is none is taken for a state, and refused as one."""
    try:
        return str(json.loads(key or b""))
    except ValueError:
        return ""
