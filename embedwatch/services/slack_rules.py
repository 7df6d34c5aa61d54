"""What Slack refuses: the limits of a message, as far as they are published or were found by others. Pure.

The stand-in applies them to what arrives. They are written down here apart from those that `alerting` keeps by
construction, so that a wrong number on one side shows on the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# https://docs.slack.dev/reference/block-kit/blocks
MAX_BLOCKS = 50
MAX_SECTION_CHARS = 3000
MAX_SECTION_FIELDS = 10
MAX_FIELD_CHARS = 2000
MAX_HEADER_CHARS = 150
MAX_CONTEXT_ELEMENTS = 10
MAX_ACTIONS = 25
MAX_BUTTON_CHARS = 75
MAX_BUTTON_VALUE_CHARS = 2000
MAX_URL_CHARS = 3000
MAX_BLOCK_ID_CHARS = 255
MAX_ALT_CHARS = 2000
# Not published; found by users: https://github.com/slackapi/bolt-js/issues/2509
MAX_BLOCKS_CHARS = 13_200
# chat.postMessage cuts a longer text; chat.update refuses a text above its own limit (its reference page).
MAX_POST_TEXT_CHARS = 40_000
MAX_UPDATE_TEXT_CHARS = 4000
MAX_ATTACHMENTS = 100

_PLAIN_ONLY = ("plain_text",)
_ANY_TEXT = ("plain_text", "mrkdwn")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The `error` of the answer, and the messages Slack puts beside it to say where."""

    error: str
    messages: list[str] = field(default_factory=list)


def check_message(text: Any, blocks: Any, attachments: Any = None) -> Refusal | None:
    """None when Slack would take the message."""
    if blocks is not None and not isinstance(blocks, list):
        return Refusal("invalid_blocks_format", ["[ERROR] blocks must be an array [json-pointer:/blocks]"])
    if attachments is not None and not isinstance(attachments, list):
        return Refusal("invalid_attachments")
    if attachments and len(attachments) > MAX_ATTACHMENTS:
        return Refusal("too_many_attachments")
    if not blocks and not attachments and not (isinstance(text, str) and text.strip()):
        return Refusal("no_text")
    groups = [("/blocks", blocks or [])]
    for index, attachment in enumerate(attachments or []):
        if not isinstance(attachment, dict):
            return Refusal("invalid_attachments")
        nested = attachment.get("blocks") or []
        if not isinstance(nested, list):
            return Refusal("invalid_attachments")
        groups.append((f"/attachments/{index}/blocks", nested))
    trouble = [line for where, group in groups for line in check_blocks(group, where)]
    if trouble:
        return Refusal("invalid_blocks", trouble)
    if sum(characters(group) for _, group in groups) > MAX_BLOCKS_CHARS:
        return Refusal("msg_blocks_too_long")
    return None


def check_blocks(blocks: list[Any], where: str) -> list[str]:
    """Every mistake, each with its JSON pointer, in the words Slack uses for them."""
    trouble: list[str] = []
    if len(blocks) > MAX_BLOCKS:
        trouble.append(_error(f"no more than {MAX_BLOCKS} items allowed", where))
    for index, block in enumerate(blocks[: MAX_BLOCKS + 1]):
        at = f"{where}/{index}"
        if not isinstance(block, dict):
            trouble.append(_error("must be an object", at))
            continue
        trouble += _check_block(block, at)
    return trouble


def characters(value: Any) -> int:
    """Characters of all texts in blocks: what the undocumented limit counts."""
    if isinstance(value, dict):
        own = len(value["text"]) if isinstance(value.get("text"), str) else 0
        return own + sum(characters(item) for item in value.values())
    return sum(characters(item) for item in value) if isinstance(value, list) else 0


def _check_block(block: dict[str, Any], at: str) -> Iterator[str]:
    kind = block.get("type")
    block_id = block.get("block_id", "")
    if not isinstance(block_id, str) or len(block_id) > MAX_BLOCK_ID_CHARS:
        yield _error(f"must be less than {MAX_BLOCK_ID_CHARS + 1} characters", f"{at}/block_id")
    if kind == "header":
        yield from _check_text(block.get("text"), f"{at}/text", MAX_HEADER_CHARS, _PLAIN_ONLY)
    elif kind == "section":
        yield from _check_section(block, at)
    elif kind == "context":
        yield from _check_context(block.get("elements"), f"{at}/elements")
    elif kind == "actions":
        yield from _check_actions(block.get("elements"), f"{at}/elements")
    elif kind == "image":
        yield from _check_image(block, at)
    elif kind != "divider":
        yield _error(f"unsupported type: {kind}", f"{at}/type")


def _check_section(block: dict[str, Any], at: str) -> Iterator[str]:
    fields = block.get("fields")
    if block.get("text") is None and not fields:
        yield _error("missing required field: text", at)
    if block.get("text") is not None:
        yield from _check_text(block["text"], f"{at}/text", MAX_SECTION_CHARS, _ANY_TEXT)
    if fields is None:
        return
    if not isinstance(fields, list) or len(fields) > MAX_SECTION_FIELDS:
        yield _error(f"no more than {MAX_SECTION_FIELDS} items allowed", f"{at}/fields")
        return
    for index, item in enumerate(fields):
        yield from _check_text(item, f"{at}/fields/{index}", MAX_FIELD_CHARS, _ANY_TEXT)


def _check_context(elements: Any, at: str) -> Iterator[str]:
    if not isinstance(elements, list) or not 0 < len(elements) <= MAX_CONTEXT_ELEMENTS:
        yield _error(f"between 1 and {MAX_CONTEXT_ELEMENTS} items allowed", at)
        return
    for index, item in enumerate(elements):
        if isinstance(item, dict) and item.get("type") == "image":
            yield from _check_image(item, f"{at}/{index}")
        else:
            yield from _check_text(item, f"{at}/{index}", MAX_SECTION_CHARS, _ANY_TEXT)


def _check_actions(elements: Any, at: str) -> Iterator[str]:
    if not isinstance(elements, list) or not 0 < len(elements) <= MAX_ACTIONS:
        yield _error(f"between 1 and {MAX_ACTIONS} items allowed", at)
        return
    for index, item in enumerate(elements):
        where = f"{at}/{index}"
        if not isinstance(item, dict) or item.get("type") != "button":
            continue  # other elements exist; embedwatch sends none
        yield from _check_text(item.get("text"), f"{where}/text", MAX_BUTTON_CHARS, _PLAIN_ONLY)
        for name, limit in (("value", MAX_BUTTON_VALUE_CHARS), ("url", MAX_URL_CHARS)):
            if isinstance(item.get(name), str) and len(item[name]) > limit:
                yield _error(f"must be less than {limit + 1} characters", f"{where}/{name}")


def _check_image(block: dict[str, Any], at: str) -> Iterator[str]:
    alt = block.get("alt_text")
    if not isinstance(alt, str) or len(alt) > MAX_ALT_CHARS:
        yield _error(f"must be less than {MAX_ALT_CHARS + 1} characters", f"{at}/alt_text")
    url = block.get("image_url")
    if url is None and "slack_file" not in block:
        yield _error("missing required field: image_url", at)
    elif url is not None and (not isinstance(url, str) or not 0 < len(url) <= MAX_URL_CHARS):
        yield _error(f"must be less than {MAX_URL_CHARS + 1} characters", f"{at}/image_url")


def _check_text(value: Any, at: str, limit: int, kinds: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(value, dict) or value.get("type") not in kinds:
        yield _error(f"must be a text object of type {' or '.join(kinds)}", at)
        return
    text = value.get("text")
    if not isinstance(text, str) or not text:
        yield _error("must be more than 0 characters", f"{at}/text")
    elif len(text) > limit:
        yield _error(f"must be less than {limit + 1} characters", f"{at}/text")


def _error(what: str, pointer: str) -> str:
    return f"[ERROR] {what} [json-pointer:{pointer}]"
