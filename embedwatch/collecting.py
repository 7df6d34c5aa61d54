"""Vectors into a file: Parquet, or a NumPy matrix with its ids beside it. Whole or not at all, in bounded memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from embedwatch.errors import InputError
from embedwatch.wire import Vector

#: Rows of a Parquet row group; also what is held in memory.
ROWS = 4096
SUFFIXES = (".parquet", ".npy")


@dataclass(frozen=True, slots=True)
class Kind:
    """What all vectors of one file have in common."""

    dims: int
    dtype: str
    model: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Row:
    """One vector and where it stood."""

    text_id: str
    vector: Vector
    partition: int
    offset: int
    time_ms: int | None


class Out(Protocol):
    """A file in the making. `finish` gives it its name; `discard` leaves nothing."""

    def add(self, rows: Sequence[Row]) -> None: ...

    def finish(self) -> None: ...

    def discard(self) -> None: ...


def open_out(path: Path, kind: Kind) -> Out:
    """By the file's ending. Raises `InputError`."""
    makers: dict[str, Callable[[Path, Kind], Out]] = {".parquet": ParquetOut, ".npy": NpyOut}
    maker = makers.get(path.suffix.lower())
    if maker is None:
        raise InputError(f"{path}: the file's ending says what is written; it is one of {', '.join(SUFFIXES)}")
    return maker(path, kind)


class ParquetOut:
    """Columns id, vector (a list of fixed size), partition, offset, time; model and fingerprint in the metadata."""

    def __init__(self, path: Path, kind: Kind) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._pa, self._kind, self._path, self._part = pa, kind, path, part_of(path)
        self._type = pa.float32() if kind.dtype == "float32" else pa.float16()
        self._schema = pa.schema(
            [
                ("id", pa.string()),
                ("vector", pa.list_(self._type, kind.dims)),
                ("partition", pa.int32()),
                ("offset", pa.int64()),
                ("time", pa.timestamp("ms", tz="UTC")),
            ],
            metadata={"model": kind.model, "fingerprint": kind.fingerprint},
        )
        self._writer: Any = pq.ParquetWriter(self._part, self._schema, compression="zstd")
        self._rows: list[Row] = []

    def add(self, rows: Sequence[Row]) -> None:
        self._rows.extend(rows)
        while len(self._rows) >= ROWS:
            self._write(self._rows[:ROWS])
            del self._rows[:ROWS]

    def finish(self) -> None:
        if self._rows:
            self._write(self._rows)
        self._writer.close()
        os.replace(self._part, self._path)

    def discard(self) -> None:
        self._writer.close()
        self._part.unlink(missing_ok=True)

    def _write(self, rows: Sequence[Row]) -> None:
        pa = self._pa
        flat = pa.array(np.concatenate([row.vector for row in rows]), type=self._type)
        columns = [
            pa.array([row.text_id for row in rows], pa.string()),
            pa.FixedSizeListArray.from_arrays(flat, self._kind.dims),
            pa.array([row.partition for row in rows], pa.int32()),
            pa.array([row.offset for row in rows], pa.int64()),
            pa.array([row.time_ms for row in rows], pa.timestamp("ms", tz="UTC")),
        ]
        self._writer.write_table(pa.table(columns, schema=self._schema))


class NpyOut:
    """A matrix (texts, dims) for `numpy.load`, and `NAME.ids.jsonl` with the id of each row as a line of JSON."""

    def __init__(self, path: Path, kind: Kind) -> None:
        self._kind, self._path, self._part = kind, path, part_of(path)
        self._ids_path = path.with_suffix(".ids.jsonl")
        self._ids_part = part_of(self._ids_path)
        self._count = 0
        self._file = self._part.open("wb")
        self._ids = self._ids_part.open("w", encoding="utf-8")
        self._header()
        self._begin = self._file.tell()

    def add(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        wanted = "<f4" if self._kind.dtype == "float32" else "<f2"
        self._file.write(np.stack([row.vector for row in rows]).astype(wanted).tobytes())
        self._ids.writelines(json.dumps(row.text_id, ensure_ascii=False) + "\n" for row in rows)
        self._count += len(rows)

    def finish(self) -> None:
        self._file.seek(0)
        self._header()
        if self._file.tell() != self._begin:  # numpy leaves room for a longer count, so this cannot be
            raise InputError(f"{self._path}: the header of {self._count:,} rows does not fit")
        self._close()
        os.replace(self._ids_part, self._ids_path)
        os.replace(self._part, self._path)

    def discard(self) -> None:
        self._close()
        self._part.unlink(missing_ok=True)
        self._ids_part.unlink(missing_ok=True)

    def _close(self) -> None:
        self._file.close()
        self._ids.close()

    def _header(self) -> None:
        descr = "<f4" if self._kind.dtype == "float32" else "<f2"
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": descr, "fortran_order": False, "shape": (self._count, self._kind.dims)}
        )


def part_of(path: Path) -> Path:
    """The name of a file until it is whole."""
    return path.with_name(path.name + ".part")
