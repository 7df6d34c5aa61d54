"""Parquet through pyarrow, a few thousand rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedwatch.errors import InputError
from producers.fields import Records, some_of
from producers.text import Input, Item, ReadOptions, Tally

_BATCH_ROWS = 2048


def read_parquet(spec: Input, options: ReadOptions, tally: Tally) -> Iterator[Item]:
    """Rows are counted from 1. Only the columns that are needed are read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = Records(spec, options, unit="row")
    try:
        file = pq.ParquetFile(spec.path)
        schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no UTF-8
        raise InputError(f"{spec.label}: is not a Parquet file that can be read: {_line(error)}") from None
    with file:
        _check_column(pa, schema, options.field, "--field", spec, numbers=False)
        columns = [options.field]
        if options.id_field is not None:
            _check_column(pa, schema, options.id_field, "--id-field", spec, numbers=True)
            columns.append(options.id_field)
        total, size = max(1, file.metadata.num_rows), spec.size_bytes or 0
        number = 0
        tally.position = lambda: size * number // total
        batches = file.iter_batches(batch_size=_BATCH_ROWS, columns=list(dict.fromkeys(columns)))
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise records.error(number + 1, f"the file is damaged from here on: {_line(error)}") from None
            if batch is None:
                return
            ids = None if options.id_field is None else _values(pa, batch.column(options.id_field))
            for at, value in enumerate(_values(pa, batch.column(options.field))):
                number += 1
                text_id = None if ids is None else ids[at]
                if ids is not None and text_id is None:
                    yield records.bad(number, f"id field {options.id_field!r} is null; each text needs an id")
                else:
                    yield records.item(number, value, text_id)


def _values(pa: Any, column: Any) -> list[Any]:
    """Python values; a string that is not valid UTF-8 comes with surrogates."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        data = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
        return [None if raw is None else raw.decode("utf-8", "surrogateescape") for raw in data.to_pylist()]


def _check_column(pa: Any, schema: Any, name: str, option: str, spec: Input, *, numbers: bool) -> None:
    found = schema.get_all_field_indices(name)
    if len(found) != 1:
        problem = f"no column {name!r}" if not found else f"{len(found)} columns are named {name!r}"
        raise InputError(f"{spec.label}: {problem}; the columns are: {some_of(schema.names)}. Name one with {option}.")
    kind = schema.field(found[0]).type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    text = pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)
    if not (text or (numbers and pa.types.is_integer(plain))):
        wanted = "text or whole numbers" if numbers else "text"
        raise InputError(f"{spec.label}: column {name!r} is {kind}, not {wanted}; choose another with {option}")


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
