"""Parcels for the tests of receivers."""

from __future__ import annotations

from alerting.message import Message
from alerting.parcels import Parcel
from alerting.states import Ref


def parcel(message: Message, ref: Ref | None = None, number: int = 1) -> Parcel:
    """As the engine packs it, for an alert that fired at second 1000."""
    key = f"{message.alert_id}|{message.episode}|1000"
    return Parcel(message, key, f"{key}|{number}", ref)
