"""What the tests of the producers share."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

import pytest

from producers.text import Input, Item, ReadOptions, Tally

Reader = Callable[[BinaryIO, Input, ReadOptions, Tally], object]


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def read(tally: Tally) -> Callable[..., list[Item]]:
    """read(reader, data, path=..., **options) -> items of `data` as if it stood in a file of that name."""

    def run(reader: Reader, data: bytes, path: str = "in.txt", **options: object) -> list[Item]:
        spec = Input("file", path, path, path, path, "txt", len(data))
        merged: dict[str, object] = {"max_text_bytes": 1000, **options}
        return list(reader(io.BytesIO(data), spec, ReadOptions(**merged), tally))  # type: ignore[arg-type,call-overload]

    return run
