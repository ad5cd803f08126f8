"""Encodes numpy columns for PostgreSQL's COPY … (FORMAT binary), without a loop over rows.

Belongs here: the wire format of the types that the generated tables use.
Does not belong here: which tables there are (load.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.sources.synthetic.population import Array, Columns, is_missing, row_count

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
ROWS_PER_CHUNK = 20_000

_EPOCH_DAY = np.datetime64("2000-01-01", "D")
_EPOCH_MICROSECOND = np.datetime64("2000-01-01", "us")

# A column's bytes: rows x width of uint8, and how many of them count (None = all).
Encoded = tuple[Array, Array | None]


def encode(columns: Columns, types: Mapping[str, str]) -> Iterator[tuple[int, bytes]]:
    """Yields (rows, bytes) per chunk, including header and trailer.

    `types` maps every column to its PostgreSQL type, as format_type() writes it without modifier.
    Raises TutorPipelineError for a type or a value that it cannot encode.
    """
    total = row_count(columns)
    yield 0, HEADER
    for start in range(0, total, ROWS_PER_CHUNK):
        stop = min(start + ROWS_PER_CHUNK, total)
        yield stop - start, _chunk(columns, types, start, stop)
    yield 0, TRAILER


def _chunk(columns: Columns, types: Mapping[str, str], start: int, stop: int) -> bytes:
    """Returns rows start to stop: each field is its length (-1 = NULL), then that many bytes."""
    size = stop - start
    blocks = [np.broadcast_to(_big_endian(np.array([len(columns)]), "i2"), (size, 2))]
    keeps: list[Array] = [np.ones((size, 2), dtype=bool)]
    for name, whole in columns.items():
        values = whole[start:stop]
        try:
            payload, lengths = _ENCODERS[types[name]](values)
        except KeyError:
            raise TutorPipelineError(
                f"column {name} has the type {types.get(name)!r}, which the loader cannot write."
            ) from None
        width = payload.shape[1]
        used = np.full(size, width) if lengths is None else lengths
        used = np.where(is_missing(values), -1, used)
        blocks += [_big_endian(used, "i4"), payload]
        keeps += [np.ones((size, 4), dtype=bool), np.arange(width) < used[:, None]]
    return bytes(np.concatenate(blocks, axis=1)[np.concatenate(keeps, axis=1)])


def _big_endian(values: Array, kind: str) -> Array:
    """Returns numbers as rows of bytes in network byte order."""
    wide = np.ascontiguousarray(values.astype(f">{kind}"))
    return wide.view(np.uint8).reshape(len(values), wide.dtype.itemsize)


def _text(values: Array) -> Encoded:
    width = values.dtype.itemsize
    payload = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), width)
    return payload, np.strings.str_len(values)


def _jsonb(values: Array) -> Encoded:
    payload, lengths = _text(values)
    version = np.ones((len(values), 1), dtype=np.uint8)
    return np.concatenate((version, payload), axis=1), lengths + 1 if lengths is not None else None


def _numeric(values: Array) -> Encoded:
    """Encodes two decimals in base 10,000, one digit before and one after the point.

    Raises TutorPipelineError outside 0 ≤ value < 10,000.
    """
    cents = np.round(np.nan_to_num(values) * 100).astype(np.int64)
    whole, rest = np.divmod(cents, 100)
    if len(whole) and not (whole.min() >= 0 and whole.max() < 10_000):
        raise TutorPipelineError("a numeric value to load is not between 0 and 9,999.99.")
    digits, weight, sign, scale = 2, 0, 0, 2
    head = np.broadcast_to(np.array([digits, weight, sign, scale]), (len(values), 4))
    body = np.concatenate((head, whole[:, None], rest[:, None] * 100), axis=1)
    return _big_endian(body.ravel(), "i2").reshape(len(values), 12), None


def _fixed(kind: str) -> Callable[[Array], Encoded]:
    return lambda values: (_big_endian(values, kind), None)


def _date(values: Array) -> Encoded:
    return _big_endian((values.astype("M8[D]") - _EPOCH_DAY).astype(np.int64), "i4"), None


def _timestamp(values: Array) -> Encoded:
    since = (values.astype("M8[us]") - _EPOCH_MICROSECOND).astype(np.int64)
    return _big_endian(since, "i8"), None


_ENCODERS: Mapping[str, Callable[[Array], Encoded]] = {
    "text": _text,
    "jsonb": _jsonb,
    "numeric": _numeric,
    "integer": _fixed("i4"),
    "double precision": _fixed("f8"),
    "boolean": _fixed("i1"),
    "date": _date,
    "timestamp with time zone": _timestamp,
}
