"""Parcels for the tests of receivers."""

from __future__ import annotations

from alerting.message import Message
from alerting.parcels import Parcel
from alerting.states import Facts, Owed, Ref
from tests.harness.verdicts import verdict

FACTS = Facts(breach=verdict(), since_seconds=1000.0, fired_at_seconds=1000.0)


def parcel(message: Message, ref: Ref | None = None, number: int = 1) -> Parcel:
    """As the engine packs it, for an alert that fired at second 1000."""
    key = f"{message.alert_id}|{message.episode}|1000"
    owed = Owed(number, "slack", "firing", message.episode, 1000.0, FACTS)
    return Parcel(message, key, f"{key}|{number}", ref, owed=owed)
