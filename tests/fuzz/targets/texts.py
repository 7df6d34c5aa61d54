"""What arrives as texts and vectors, what comes back from the cache, and what is sent back from the dead letters."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import numpy as np

from embedwatch import dead_letters, wire
from embedwatch.errors import ConfigError, InvalidEvent
from embedwatch.offset_ranges import OffsetRanges
from embedwatch.topics import TEXTS_MAX_MESSAGE_BYTES
from tests.fuzz.dice import Dice
from workers.cache_entry import decode_entries, encode_entries
from workers.dead_letters import dead_letter
from workers.decode import MAX_MESSAGE_TEXTS, Decoder, Message

CHUNK = {"ids": ["a", "b", "c"], "texts": ["one", "two", "three"]}
NAMES = (
    "format", "count", "model", "tenant", "source", "replays", "replayed_from", "dtype", "dims",
    "fingerprint", "index",
    "text_id", "error_class", "stage", "message", "time", "source_topic", "source_partition", "source_offset",
    "asked_model", "clipped_from_bytes", "receipt",
)  # fmt: skip
VALUES = (
    b"texts.v1", b"vectors.v1", b"texts.v2", b"m", b"0", b"1", b"-1", b"-1000000", b"3", b"999999", b"9999999",
    b"99999999999999999999999", b"1e9", b"nan", b"inf", b"-inf", b"float32", b"float16", b"texts",
    b"dlq-replay.v1", b"",
    b" 1 ", b"1_0", "１".encode(), b"\xff\xfe", b"\xed\xa0\x80", b"9" * 5000,
)  # fmt: skip
DECODER = Decoder(models=frozenset({"m"}), max_text_bytes=1000, seconds=lambda: 0.0)


def fuzz_texts(data: bytes) -> None:
    """A record of the texts topic through the worker's decoder: each text is fit or has its reason, none is lost, and
    the dead letter of it comes back as the same text."""
    dice = Dice(data)
    value = dice.json(CHUNK) if dice.byte() % 4 else dice.raw(200)
    headers = _headers(dice, ("format", "model", "tenant", "source", "replays"))
    if dice.byte() % 4:
        headers.append(("format", wire.TEXTS_FORMAT))
    record = SimpleNamespace(
        topic="texts", partition=0, offset=dice.below(1000), timestamp=dice.pick((-1, 0, 1_800_000_000_000, None)),
        key=dice.pick((None, b"", b"k", dice.raw(600))), value=dice.pick((value, value, value, None)), headers=headers,
    )  # fmt: skip
    message = DECODER.decode(record)
    assert 1 <= len(message.items) <= MAX_MESSAGE_TEXTS or not message.items
    assert sum(len(item.raw) for item in message.items) <= 8 + len(record.value or b"")
    for index, item in enumerate(message.items):
        assert len(item.id) <= wire.MAX_TEXT_ID_CHARS
        if index in message.failures:
            _comes_back(message, index)
        else:
            assert item.text is not None
            assert item.text.encode() == item.raw
    good = [item for i, item in enumerate(message.items) if i not in message.failures]
    again = wire.encode_chunk([i.id for i in good], [i.text or "" for i in good])
    found = wire.decode_texts(None, again, wire.chunk_headers(len(good)), fallback_id="x")
    assert [(i.id, i.text) for i in found] == [(i.id, i.text) for i in good]


def _comes_back(message: Message, index: int) -> None:
    letter = dead_letter(message, index, message.failures[index], worker_model="m", now=1.0)
    read = dead_letters.letter_of(0, 5, letter.key, letter.value, letter.headers)
    assert read.value == message.items[index].raw
    assert (read.source_topic, read.source_offset, read.index) == ("texts", message.offset, index)
    key, headers = dead_letters.replay(read)
    record = SimpleNamespace(
        topic="texts", partition=0, offset=9, timestamp=None, key=key, value=read.value, headers=headers
    )
    again = DECODER.decode(record)
    assert again.replays == message.replays + 1 or message.replays >= 999_999
    if message.failures[index].error_class != "malformed_message":
        assert again.items[0].raw == read.value


def fuzz_vectors(data: bytes) -> None:
    """A record of the vectors topic: vectors as large as its bytes, or `InvalidEvent`."""
    dice = Dice(data)
    dims = 1 + dice.below(8)
    matrix = np.arange(3 * dims, dtype="<f4" if dice.maybe() else "<f2").reshape(3, dims)
    value = bytearray(wire.encode_vectors(["a", "b", dice.text()], matrix))
    for _ in range(dice.below(4)):
        value[dice.below(len(value))] = dice.byte()
    headers = wire.vector_headers(
        dtype=matrix.dtype.name, dims=dims, model="m", fingerprint="f", chunk=dice.byte() % 4 > 0
    ) + _headers(dice, ("dims", "dtype", "format"))
    body = bytes(value) if dice.byte() % 8 else dice.rest()
    try:
        found = list(wire.read_vectors(dice.raw(8), body, headers))
    except InvalidEvent as error:
        assert len(str(error)) < 1000
        return
    assert sum(vector.nbytes for _, vector in found) <= len(body)


def fuzz_cache(data: bytes) -> None:
    """What stands in the cache under our keys: an entry as it was written, or a miss that is counted."""
    dice = Dice(data)
    dims = 1 + dice.below(6)
    tokens = np.array([dice.below(1000)], np.int64)
    written = encode_entries(np.full((1, dims), 0.5, np.float32), tokens, tokens)[0] or b""
    values: list[bytes | None] = []
    for _ in range(dice.below(5)):
        one = bytearray(written)
        for _ in range(dice.below(3)):
            one[dice.below(len(one))] = dice.byte()
        values.append(dice.pick((bytes(one), bytes(one), None, dice.raw())))
    found = decode_entries(values, dims)
    assert len(found.index) + found.foreign == sum(value is not None for value in values)
    assert np.isfinite(found.matrix).all()
    assert found.matrix.shape == (len(found.index), dims)


def fuzz_dead_letters(data: bytes) -> None:
    """Records of any bytes and headers on the dead-letters topic: listed, counted, chosen, and replayed or refused."""
    dice = Dice(data)
    summary, latest, sent = dead_letters.Summary(), dead_letters.Latest(2), OffsetRanges()
    for number in range(1 + dice.below(4)):
        headers = _headers(dice, NAMES)
        value = dice.json({"0": [[1, 5], [7, 9]], "1": [[0, 0]]}) if dice.maybe(4) else dice.raw(200)
        receipt = dead_letters.read_receipt(value, headers)
        if receipt is not None:
            sent.update(receipt)
            continue
        letter = dead_letters.letter_of(0, number, dice.raw(20) or None, value, headers, dice.pick((None, -1, 10)))
        summary.add(letter)
        latest.add(letter)
        json.dumps(letter.as_json())
        dead_letters.Selection(error_class="unknown", since_seconds=1.0).takes(letter)
        shown = dead_letters.printable(letter.text_id + letter.message, 80)
        assert shown.isprintable()
        assert len(shown) <= 80 * 12
        if dead_letters.refusal(letter, "texts", 5) is None:
            _replayed(dice, letter)
    assert len(latest.newest_first()) <= 2
    assert len(list(sent.ranges())) <= 100
    assert dead_letters.read_receipt(*dead_letters.receipt(sent)).as_json() == sent.as_json()  # type: ignore[union-attr]
    with contextlib.suppress(ConfigError):
        dead_letters.places([dice.text()])


def _replayed(dice: Dice, letter: dead_letters.Letter) -> None:
    if letter.clipped_from_bytes is not None:
        # What is asked of the broker then has to be a place that there may be.
        assert 0 <= (letter.source_partition or 0) < 2**31
        assert 0 <= (letter.source_offset or 0) < 2**63
        source = dice.json(CHUNK) if dice.maybe() else letter.value + dice.raw()
        whole = dead_letters.restored(letter, dice.raw(8), source, _headers(dice, ("format",)))
        if isinstance(whole, str):
            return
        letter = whole
    key, headers = dead_letters.replay(letter)
    assert len(key) + len(letter.value) + sum(len(n) + len(v) for n, v in headers) <= TEXTS_MAX_MESSAGE_BYTES
    record = SimpleNamespace(
        topic="texts", partition=0, offset=9, timestamp=None, key=key, value=letter.value, headers=headers
    )
    again = DECODER.decode(record)
    assert again.replays > 0, "it would be sent back for ever"


def _headers(dice: Dice, names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    return [(dice.pick(names), dice.pick(VALUES) if dice.byte() % 4 else dice.raw(40)) for _ in range(dice.below(8))]
