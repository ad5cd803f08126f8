"""What the generator gives: tables of numpy columns, and how a missing value looks in them.

Belongs here: the container, the convention for NULL, ids, the random streams.
Does not belong here: what the columns mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutor_pipeline.sources.synthetic.parameters import Parameters

Array = NDArray[Any]
Columns = Mapping[str, Array]

# NULL per kind of column: NaN, NaT, "" for text, and these two where numpy has nothing.
MISSING_INTEGER = np.int32(-(2**31))
MISSING_FLAG = np.int8(-1)

# Part of every stream. A change of the model deals all cards anew: raise the edition until the
# default population is an ordinary month whatever the weekday of its end (the tests tell).
EDITION = 4225


@dataclass(frozen=True, slots=True)
class Population:
    """One synthetic platform: `platform` and `truth` hold table name → column name → array.

    Columns of a table have one length. Kinds: S = ASCII text or JSON, i4 integer, i1 boolean
    (-1 NULL), f8 number, M8[D] date, M8[us] timestamp in UTC.
    """

    parameters: Parameters
    platform: Mapping[str, Columns]
    truth: Mapping[str, Columns]

    def fingerprint(self) -> str:
        """SHA-256 over every name, type and byte: equal only for equal populations."""
        digest = hashlib.sha256()
        for schema, tables in (("platform", self.platform), ("truth", self.truth)):
            for table, columns in tables.items():
                for name, values in columns.items():
                    label = f"{schema}.{table}.{name} {values.dtype.str} {values.shape}"
                    digest.update(label.encode())
                    digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def is_missing(values: Array) -> Array:
    """True where a value stands for NULL, by the convention of the column's kind."""
    match values.dtype.kind:
        case "f":
            return np.asarray(np.isnan(values))
        case "M":
            return np.asarray(np.isnat(values))
        case "S":
            return np.asarray(values == b"")
        case "i":
            missing = MISSING_FLAG if values.dtype.itemsize == 1 else MISSING_INTEGER
            return np.asarray(values == missing)
        case kind:
            raise TypeError(f"no convention for a missing value in columns of kind {kind!r}")


def row_count(columns: Columns) -> int:
    """Rows of a table."""
    return len(next(iter(columns.values())))


def stream(seed: int, stage: str) -> np.random.Generator:
    """The random stream of one stage: stages don't shift each other when one draws more."""
    return np.random.default_rng([EDITION, seed, *stage.encode()])


def make_ids(prefix: str, numbers: Array, width: int, highest: int) -> Array:
    """`prefix` + zero-padded numbers as fixed-width text; wider where `highest` needs it."""
    width = max(width, len(str(highest)))
    digits = np.empty((len(numbers), len(prefix) + width), dtype=np.uint8)
    digits[:, : len(prefix)] = np.frombuffer(prefix.encode(), dtype=np.uint8)
    rest = numbers.astype(np.int64)
    for position in range(len(prefix) + width - 1, len(prefix) - 1, -1):
        rest, digit = np.divmod(rest, 10)
        digits[:, position] = digit + ord("0")
    return digits.view(f"S{len(prefix) + width}").ravel()


def text(values: Sequence[str]) -> Array:
    """A lookup of texts, to be indexed by codes."""
    return np.array([value.encode("ascii") for value in values])


def flags(values: Array, missing: Array | None = None) -> Array:
    """Booleans as i1, -1 where `missing`."""
    result = values.astype(np.int8)
    if missing is not None:
        result[missing] = MISSING_FLAG
    return result


def concat(*parts: Array | bytes) -> Array:
    """Texts joined element by element; a plain text stands in every row."""
    joined: Any = parts[0]
    for part in parts[1:]:
        joined = np.strings.add(joined, part)
    return np.asarray(joined)


def pick(rng: np.random.Generator, shares: Sequence[float], size: int) -> Array:
    """`size` codes 0 … len(shares) - 1, drawn with those shares (they need not sum to one)."""
    edges = np.cumsum(shares) / np.sum(shares)
    return np.searchsorted(edges[:-1], rng.random(size), side="right")


def blank(values: Array, missing: Array) -> Array:
    """A copy of `values` with NULL where `missing`."""
    result = values.copy()
    match values.dtype.kind:
        case "f":
            result[missing] = np.nan
        case "M":
            result[missing] = np.datetime64("NaT")
        case "S":
            result[missing] = b""
        case _:
            result[missing] = MISSING_FLAG if values.dtype.itemsize == 1 else MISSING_INTEGER
    return result
