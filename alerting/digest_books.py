"""The books: which period is being counted, and digests that are made and not yet taken. Pure.

One record for each partition of verdicts, kept with the alerts: whoever has the partition, and so its alerts, tells
their digest. The topic is made with one partition, so that of several processes one tells one digest of everything.

A period is closed by storing this record, alone and before anything that is counted in the next one; what it sums was
stored before. So a crash makes the same digest again, or finds it made, and no firing is in two of them or in none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from alerting.digest import Digest, digest_of, joined
from alerting.digest_account import in_period
from alerting.digest_booking import Route, booked, matters
from alerting.digest_time import Schedule
from alerting.digest_words import compose_digest
from alerting.parcels import Parcel, pack_whole
from alerting.states import AlertState, Owed
from embedwatch.errors import InvalidEvent

VERSION = 1
#: Keys of these records in the topic of alerts. An alert's id names a scope after the bar, never a number.
KEY = "digest|"


def is_key(key: str) -> bool:
    return key.startswith(KEY) and key.removeprefix(KEY).isdecimal()


class OwedDigest(Struct, frozen=True):
    """A digest that its receiver has not taken. `number` is unique in the partition's books."""

    number: int
    receiver: str
    decided_seconds: float
    digest: Digest


class Books(Struct, frozen=True, omit_defaults=True, tag="digest", tag_field="type"):
    """Of one partition. The present period began at `since_seconds` (our clock)."""

    partition: int
    period: int
    since_seconds: float
    next_number: int = 1
    owed: tuple[OwedDigest, ...] = ()
    v: int = 0  # on the topic only

    @property
    def key(self) -> str:
        return f"{KEY}{self.partition}"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Books)


def encode(books: Books) -> bytes:
    return _encoder.encode(replace(books, v=VERSION))


def decode(data: bytes) -> Books:
    """Raises `InvalidEvent`: wrong_version for books of a newer embedwatch, else invalid."""
    try:
        books = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent("invalid", str(error)) from None
    if books.v != VERSION:
        raise InvalidEvent("wrong_version", f"v is {books.v}, this reader knows {VERSION}")
    return replace(books, v=0)


def digest_parcel(books: Books, owed: OwedDigest, dashboard_url: str | None, *, doubtful: bool) -> Parcel:
    """The time is part of its key: books that are lost number their digests from 1 again."""
    key = f"{books.key}|{owed.receiver}|{owed.number}|{int(owed.decided_seconds)}"
    message = compose_digest(owed.digest, dashboard_url, books.partition)
    return pack_whole(key, message, doubtful, owed.decided_seconds)


class Bookkeeper:
    """One thread. `receivers` get a digest; `schedule` None: nobody does, and nothing is counted."""

    def __init__(self, schedule: Schedule | None, receivers: Sequence[str], route: Route | None) -> None:
        self._schedule, self._route = schedule, route
        self._receivers = tuple(receivers) if schedule is not None else ()
        self._books: dict[int, Books] = {}
        self._unsaved: dict[str, Books | None] = {}

    def load(self, books: Iterable[Books], states: Iterable[AlertState], owned: Iterable[int], now: float) -> list[str]:
        """Go on from what the topic holds. Returns whose digests are dropped: receivers that are gone."""
        self._books, self._unsaved = {}, {}
        dropped: list[str] = []
        stored = {each.partition: each for each in books}
        if self._schedule is None:
            # Should it be wanted again one day, that day it begins anew.
            self._unsaved = {stored[each].key: None for each in owned if each in stored}
            return []
        counted = [account.period for state in states for account in state.accounts.values()]
        for partition in owned:
            found = stored.get(partition) or Books(partition, 1 + max(counted, default=0), now)
            kept = tuple(entry for entry in found.owed if entry.receiver in self._receivers)
            dropped += [entry.receiver for entry in found.owed if entry not in kept]
            self._books[partition] = replace(found, owed=kept)
            if self._books[partition] != stored.get(partition):
                self._unsaved[found.key] = self._books[partition]
        return dropped

    # --- counting ---

    def book(self, before: AlertState | None, after: AlertState, delivered: Owed | None = None) -> AlertState:
        """`after` with its accounts; `delivered` is the message that was just taken by its receiver."""
        if not self._receivers:
            return replace(after, accounts={}) if after.accounts else after
        books = self._books.get(after.partition)
        if books is None or (delivered is None and not matters(before, after)):
            return after
        return booked(before, after, books.period, self._receivers, self._route, delivered)

    def needs(self, state: AlertState) -> bool:
        """Its counts are in no digest yet: it may not be forgotten."""
        books = self._books.get(state.partition)
        if books is None:
            return False
        return bool(in_period(state.accounts, books.period))

    # --- closing ---

    def due(self, now: float) -> list[Books]:
        if self._schedule is None:
            return []
        return [books for books in self._books.values() if self._schedule.due(books.since_seconds, now)]

    def gone_through(self, books: Books, states: Iterable[AlertState]) -> list[AlertState]:
        """Those whose accounts were not up to date, as after other routes: they are stored before the period closes."""
        pairs = ((s, booked(s, s, books.period, self._receivers, self._route)) for s in states)
        return [after for before, after in pairs if after.accounts != in_period(before.accounts, books.period)]

    def close(
        self,
        books: Books,
        states: Sequence[AlertState],
        now: float,
        full: Collection[str],
        begun: Callable[[Books, OwedDigest], bool],
    ) -> None:
        """The period ends, one digest for each receiver is owed: at most two, for those that were not taken are joined.

        `full` are receivers whose cap is reached; `begun`: that digest is on its way or may have arrived, and stays.
        """
        owed, number = list(books.owed), books.next_number
        for receiver in self._receivers:
            made = digest_of(
                states, receiver, self._route, books.period, books.since_seconds, now, room=receiver not in full
            )
            before = [each for each in owed if each.receiver == receiver]
            if len(before) > 1 or (before and not begun(books, before[0])):
                owed.remove(before[-1])
                made = joined(before[-1].digest, made)
            if made.says_nothing and self._schedule is not None and not self._schedule.quiet:
                continue
            owed.append(OwedDigest(number, receiver, now, made))
            number += 1
        self._put(replace(books, period=books.period + 1, since_seconds=now, next_number=number, owed=tuple(owed)))

    # --- storing and sending ---

    @property
    def unsaved(self) -> Mapping[str, Books | None]:
        """What is to be stored, before any alert is; None: nothing is counted any more."""
        return self._unsaved

    def saved(self) -> None:
        self._unsaved = {}

    def owed(self) -> list[tuple[str, OwedDigest]]:
        """With the key of the books."""
        return [(books.key, entry) for books in self._books.values() for entry in books.owed]

    def next_owed(self, receiver: str) -> tuple[Books, OwedDigest] | None:
        """What this receiver is to get next, once it is stored that it is."""
        for books in self._books.values():
            if books.key not in self._unsaved:
                for entry in books.owed:
                    if entry.receiver == receiver:
                        return books, entry
        return None

    def settle(self, key: str, number: int, *, taken: bool) -> bool:
        """The receiver took it, or not. False when these books are not ours; harmless when it is known already."""
        books = next((each for each in self._books.values() if each.key == key), None)
        if books is None:
            return False
        kept = tuple(entry for entry in books.owed if not (taken and entry.number == number))
        if kept != books.owed:
            self._put(replace(books, owed=kept))
        return True

    def _put(self, books: Books) -> None:
        self._books[books.partition] = self._unsaved[books.key] = books
