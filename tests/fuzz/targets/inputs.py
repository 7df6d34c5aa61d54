"""Files that a producer is given: text, JSON lines, CSV, and a Parquet file of which bytes are wrong."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory

from embedwatch.errors import ConfigError, InputError
from embedwatch.wire import MAX_TEXT_ID_CHARS
from producers.sources import read_all
from producers.text import Format, Input, ReadOptions, SourceText, Tally
from tests.fuzz.dice import Dice

FORMATS: tuple[Format, ...] = ("txt", "jsonl", "csv", "jsonl", "csv", "parquet")
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8", "latin-1", "utf-16", "cp1252", "shift_jis", "utf-7")
#: What a file of each format is made of, in any order.
PIECES = (
    b'{"text": "one", "id": "a"}\n', b'{"text": ', b'"\\ud800"}\n', b'{"id": 1e999, "text": "x"}\n', b"text,id\n",
    b'"a\n', b'"",""\n', b'""""', b"\r\n", b"\r", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"a;b\n", b"\t", b"[" * 200,
    b"{" * 200, b'{"text": null}\n', b'{"text": 5, "id": []}\n', b"x" * 3000, b"PAR1", b"\n" * 50, b"\xe2\x80\xa8",
)  # fmt: skip


def fuzz_inputs(data: bytes) -> None:
    """Every text has an id and fits, or one line says what is wrong with the file."""
    dice = Dice(data)
    form = dice.pick(FORMATS)
    options = ReadOptions(
        max_text_bytes=dice.pick((1, 100, 10_000)), field=dice.pick(("text", "text", "id", "", "1", "0")),
        id_field=dice.pick((None, None, "id", "text", "2")), whole_files=dice.maybe(5), skip_bad=dice.maybe(),
        delimiter=dice.pick((None, None, ",", ";", "\t", "|")), encoding=dice.pick(ENCODINGS),
    )  # fmt: skip
    content = _parquet(dice) if form == "parquet" else _lines(dice)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(content)
        spec = Input("file", str(path), "f", "f", "s", form, len(content))
        ids: set[str] = set()
        try:
            for item in read_all([spec], options, Tally()):
                if isinstance(item, SourceText):
                    assert (item.text is None) != (item.raw is None)
                    size = len(item.raw if item.raw is not None else (item.text or "").encode("utf-8", "surrogatepass"))
                    assert size <= options.max_text_bytes, (size, options.max_text_bytes)
                    assert 0 < len(item.id) <= MAX_TEXT_ID_CHARS, len(item.id)
                    assert options.id_field or item.id not in ids
                    ids.add(item.id)
        except (InputError, ConfigError) as error:
            assert "\n" not in str(error), str(error)
            assert len(str(error)) < 1000, len(str(error))


def _lines(dice: Dice) -> bytes:
    parts = [dice.pick(PIECES) if dice.byte() % 5 else dice.raw() for _ in range(dice.below(12))]
    return b"".join([*parts, dice.rest()])


def _parquet(dice: Dice) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    texts = [dice.text().encode("utf-8", "replace").decode() if dice.byte() % 4 else None for _ in range(3)]
    ids = dice.pick(([1, 2, 3], ["a", "b", "b"], [None, "x", ""], [1.5, 2.5, None]))
    pq.write_table(pa.table({"text": texts, "id": ids}), out)
    whole = bytearray(out.getvalue())
    for _ in range(dice.below(4)):
        whole[dice.below(len(whole))] = dice.byte()
    return bytes(whole[: len(whole) - dice.below(40)] if dice.maybe(3) else whole)
