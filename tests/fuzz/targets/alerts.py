"""Verdicts, what people press and what alerting keeps; and that no text of others is markup in Slack."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from typing import Any, get_args
from zoneinfo import ZoneInfo

from alerting import digest_books, payload, slack_buttons, states
from alerting.bundle_words import compose_bundle
from alerting.lifecycle import Heard
from alerting.message import Message, compose
from alerting.parcels import pack
from alerting.policy import Policy
from alerting.slack_blocks import render, render_news
from alerting.states import AlertState
from embedwatch import silences
from embedwatch.codec import decode_action, decode_silence, decode_verdict, encode
from embedwatch.errors import InvalidEvent
from tests.fuzz.dice import Dice, dumped
from tests.fuzz.seeds import EVENTS
from tests.harness.agents_log import NOW
from tests.harness.agents_web import alert_states
from tests.harness.alert_world import FakeReceiver, World

STATES = [json.loads(states.encode(state)) for state in alert_states()]
#: What Slack gives a meaning between angle brackets. Ours are links, and moments.
MARKUP = re.compile(r"<([^<>]*)>?")
OURS = re.compile(
    r"(https?://[^<>|\s]*\|[^<>]*|!date\^-?\d+\^\{date_short_pretty\} \{time_secs\}\|[-\d]+ [\d:]+ UTC)\Z"
)
PRESS = {
    "type": "block_actions", "user": {"id": "U1", "username": "ada", "name": "Ada"},
    "container": {"channel_id": "C1", "message_ts": "1.2"},
    "actions": [
        {
            "action_id": "embedwatch.snooze_1h", "action_ts": str(NOW), "type": "button",
            "value": json.dumps({"alert_id": "a|model=m", "episode": 2}),
        }
    ],
}  # fmt: skip
ZONES = tuple(map(ZoneInfo, ("UTC", "Europe/Berlin", "Pacific/Apia", "America/Sao_Paulo")))
KINDS: tuple[states.Kind, ...] = get_args(states.Kind)
BOOKS = {"type": "digest", "v": 1, "partition": 0, "period": 3, "since_seconds": NOW, "next_number": 2}


def fuzz_slack_text(data: bytes) -> None:
    """Alerts with names, texts and notes of others, as Slack gets them: nothing of theirs is markup, limits hold."""
    dice = Dice(data)
    state = _state(dice)
    if state is None:
        return
    owed = _owed(dice, state)
    said = [compose(owed, dice.pick((None, "https://grafana.example/d?var-model={model}&t={tenant}")))]
    if dice.maybe(4):
        said.append(compose_bundle([owed, owed]))
    for message in said:
        json.dumps(_slack(message, owed, state, dice), allow_nan=False)
    json.dumps(payload.document(pack(state.alert_id, owed, said[0], None)), allow_nan=False)


def _state(dice: Dice) -> AlertState | None:
    """An alert whose verdict came over the topic, and whom somebody acknowledged."""
    try:
        verdict = states.trim(decode_verdict(dumped(dice.changed(EVENTS["verdict"], 8))))
        action = decode_action(dumped(dice.changed(EVENTS["action"], 3)))
    except InvalidEvent:
        return None
    act = states.Act(
        do=action.do, by=action.by, via=action.via, at_seconds=action.time_seconds, severity=verdict.severity,
        until_seconds=action.until_seconds, note=action.note,
    )  # fmt: skip
    return AlertState(
        verdict.alert_id, "firing", verdict, NOW, event_seconds=NOW, local_seconds=NOW, heard_seconds=NOW, partition=0,
        offset=1, breach=verdict, episode=1, act=act,
    )  # fmt: skip


def _owed(dice: Dice, state: AlertState) -> states.Owed:
    facts = states.Facts(
        breach=state.verdict, since_seconds=NOW - dice.below(10_000), fired_at_seconds=NOW - 5,
        reason=dice.pick(("fired", "recovered", "day_over")),
        worst_value=state.verdict.value, act=state.act,
        resolved_at_seconds=dice.pick((None, NOW)), flapping_changes=dice.below(3),
    )  # fmt: skip
    return states.Owed(number=1, episode=1, kind=dice.pick(KINDS), receiver="slack", decided_seconds=NOW, facts=facts)


def _slack(message: Message, owed: states.Owed, state: AlertState, dice: Dice) -> list[Any]:
    parcel = pack(state.alert_id, owed, message, None)
    text, blocks = render(message, dice.pick(((), ("<!subteam^S1>",))), slack_buttons.actions(parcel))
    news, thread = render_news(message)
    assert len(text) <= 40_000
    assert _units(text) <= 4000
    for each in (text.replace("<!subteam^S1>", ""), news):
        assert "<" not in each
        assert ">" not in each
    assert len(blocks) <= 50
    for block in blocks + thread:
        _check_block(block)
    assert len(json.dumps(blocks, ensure_ascii=False)) < 20_000
    return [text, blocks, news, thread]


def _check_block(block: dict[str, Any]) -> None:
    limits = {"header": 150, "section": 3000, "context": 3000}
    parts = [block["text"]] if "text" in block else []
    parts += block.get("fields", [])
    if block["type"] == "context":
        parts += block["elements"]
    assert len(block.get("fields", [])) <= 10
    for part in parts:
        assert 0 < _units(part["text"]) <= (2000 if part in block.get("fields", []) else limits[block["type"]])
        if part["type"] == "mrkdwn":
            _check_markup(part["text"].replace("<!subteam^S1>", ""))
    for button in block["elements"] if block["type"] == "actions" else []:
        assert len(button.get("value", "")) <= 2000
        assert len(button.get("url", "")) <= 3000
        assert button["text"]["type"] == "plain_text"


def _check_markup(text: str) -> None:
    for match in MARKUP.finditer(text):
        assert OURS.match(match[1]), f"markup that is not ours: {match[0]!r}"
    assert text.count("`") % 2 == 0


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def fuzz_slack_press(data: bytes) -> None:
    """What Slack sends when a button is pressed: an act that the topic takes, or nothing."""
    dice = Dice(data)
    sent = dice.changed(PRESS, 6)
    if isinstance(sent, dict) and dice.maybe(4) and isinstance(sent.get("actions"), list):
        value = dice.json({"alert_id": "x", "episode": 1}).decode("utf-8", "replace")
        sent["actions"] = [{**PRESS["actions"][0], "value": value}]  # type: ignore[dict-item]
    action = slack_buttons.asked(sent if isinstance(sent, dict) else {}, NOW, dice.pick(ZONES))
    if action is None:
        return
    assert decode_action(encode(action)) == action, "the topic would refuse it"
    assert abs(action.time_seconds - NOW) <= slack_buttons.CLOCKS_SECONDS
    assert not [c for c in action.by if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]


def fuzz_alerting(data: bytes) -> None:
    """Verdicts, acts, silences and stored states through the engine: all is stored as it was read, and told."""
    dice = Dice(data)
    world = World(Policy(receivers=("slack",)), [FakeReceiver()])
    loaded: dict[str, AlertState] = {}
    for seed in STATES[: dice.below(4)]:
        raw = dice.json(seed)
        try:
            state = states.decode(raw)
        except InvalidEvent as error:
            assert error.reason in ("invalid", "wrong_version")
            continue
        assert states.decode(states.encode(state)) == state
        loaded[state.alert_id] = state
    books = []
    if dice.maybe(4):
        try:
            books.append(digest_books.decode(dice.json(BOOKS)))
        except InvalidEvent:
            books = []
    world.engine.load(loaded, frozenset({0}), books, world.now)
    world.engine.recall(world.now, world.second)
    asleep = _silences(dice)
    for offset in range(dice.below(5)):
        try:
            verdict = decode_verdict(dice.json(EVENTS["verdict"]))
        except InvalidEvent:
            continue
        world.engine.hear(Heard(verdict, 0, offset), world.now, world.second)
        for silence in asleep:
            silences.matches(silence, silences.labels(verdict))
        world.advance(dice.pick((0.5, 1.0, 3.0)))
    with contextlib.suppress(InvalidEvent):
        world.engine.act(decode_action(dice.json(EVENTS["action"])), world.now, world.second)
    world.engine.silence(asleep)
    world.advance(2.0, 1.0)
    world.crash()
    world.advance(1.0, 1.0)
    for key, value in world.stored.items():
        assert states.decode(value).alert_id == key or loaded
        json.loads(value)


def _silences(dice: Dice) -> list[Any]:
    found = []
    for _ in range(dice.below(3)):
        try:
            silence = decode_silence(dice.json(EVENTS["silence"]))
        except InvalidEvent:
            continue
        if silences.mistake(silence) is not None:
            continue
        for now in (NOW, NOW + 86_400 * 3.3):
            until, start = silences.quiet_until(silence, now), silences.next_start(silence, now)
            assert until is None or start is None
            assert until is None or until > now
            silences.is_over(silence, now)
        found.append(silence)
    return found
