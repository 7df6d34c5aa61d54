"""The buttons under an alert: how they are drawn, and what a press of one asks for. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, time, timedelta, tzinfo
from typing import Any, Literal

import msgspec
from msgspec import Struct

from alerting.message import DASHBOARD
from alerting.parcels import Parcel
from alerting.wording import clean
from embedwatch.events import AlertAction, Label

PREFIX = "embedwatch."
ACKNOWLEDGE, SNOOZE_HOUR, SNOOZE_TOMORROW = (PREFIX + name for name in ("acknowledge", "snooze_1h", "snooze_tomorrow"))
#: Only opens a page; Slack tells us of it all the same.
OPEN = PREFIX + "open"
HOUR_SECONDS = 3600.0
#: "Until tomorrow" ends when people are at work again.
MORNING = time(8, 0)
#: After these there is nothing to press.
OVER = ("resolved", "cleared", "test")
#: After these nobody has to be kept from being woken.
TAKEN = ("acknowledged", "snoozed")
ACKNOWLEDGED = ("acknowledged",)
NAME_CHARS = 100
URL_CHARS = 3000
VALUE_CHARS = 2000
#: The time of a press that is further away from ours than this is not believed.
CLOCKS_SECONDS = 3600.0


class _Value(Struct, frozen=True):
    """What a button carries: the alert as it was seen."""

    alert_id: Label
    episode: int


def actions(parcel: Parcel) -> dict[str, Any] | None:
    """The block with the buttons; None where there is nothing to press."""
    message, owed = parcel.message, parcel.owed
    if owed is None or message.kind in OVER:
        return None
    value = msgspec.json.encode(_Value(owed.facts.breach.alert_id, owed.episode)).decode()
    if len(value) > VALUE_CHARS:
        return None
    buttons = [] if message.kind in ACKNOWLEDGED else [_button("Acknowledge", ACKNOWLEDGE, value, style="primary")]
    if message.kind not in TAKEN:
        buttons.append(_button("Snooze 1 h", SNOOZE_HOUR, value))
        buttons.append(_button(f"Snooze until tomorrow {MORNING:%H:%M}", SNOOZE_TOMORROW, value))
    url = message.link(DASHBOARD)
    if url is not None and len(url) <= URL_CHARS:
        buttons.append(_button("Open dashboard", OPEN, "-", url=url))
    return {"type": "actions", "elements": buttons} if buttons else None


def _button(label: str, action_id: str, value: str, **more: str) -> dict[str, Any]:
    text = {"type": "plain_text", "text": label, "emoji": False}
    return {"type": "button", "action_id": action_id, "text": text, "value": value, **more}


def asked(payload: Mapping[str, Any], now: float, zone: tzinfo) -> AlertAction | None:
    """What a press asks for; None when it asks for nothing of ours. A payload that comes twice is one act.

    `now` is Unix seconds; `zone` says when tomorrow is.
    """
    if payload.get("type") != "block_actions":
        return None
    pressed = next((each for each in _list(payload.get("actions")) if isinstance(each, dict)), {})
    do: Literal["acknowledge", "snooze"] | None = _DOES.get(str(pressed.get("action_id")))
    if do is None:
        return None
    try:
        value = msgspec.json.decode(str(pressed.get("value", "")), type=_Value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    at = _moment(pressed.get("action_ts"), now)
    until = None
    if pressed.get("action_id") == SNOOZE_HOUR:
        until = at + HOUR_SECONDS
    elif pressed.get("action_id") == SNOOZE_TOMORROW:
        until = tomorrow(at, zone)
    user, container = _map(payload.get("user")), _map(payload.get("container"))
    who = clean(str(user.get("username") or user.get("name") or user.get("id") or "somebody"), NAME_CHARS)
    parts = (user.get("id"), container.get("channel_id"), container.get("message_ts"), pressed.get("action_ts"))
    return AlertAction(
        action_id=clean("slack-" + "-".join(str(part) for part in parts), 200),
        time_seconds=at,
        alert_id=value.alert_id,
        episode=min(max(0, value.episode), 2**53),  # what is no number of one answers nothing
        do=do,
        by=who or "somebody",
        via="slack",
        until_seconds=until,
    )


_DOES: dict[str, Literal["acknowledge", "snooze"]] = {
    ACKNOWLEDGE: "acknowledge",
    SNOOZE_HOUR: "snooze",
    SNOOZE_TOMORROW: "snooze",
}


def tomorrow(now: float, zone: tzinfo) -> float:
    """The next day's morning on the clock of `zone`, Unix seconds."""
    day = datetime.fromtimestamp(now, zone).date() + timedelta(days=1)
    return datetime.combine(day, MORNING, zone).timestamp()


def _moment(value: Any, now: float) -> float:
    """When it was pressed: a press that comes again much later asks for no more than the first."""
    try:
        at = float(value)
    except (TypeError, ValueError):
        return now
    return at if math.isfinite(at) and abs(now - at) <= CLOCKS_SECONDS else now


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
