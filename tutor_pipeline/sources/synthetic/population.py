"""The generator's result: tables of numpy columns, and how they represent NULL.

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

# NULL per kind of column: NaN, NaT, b"" for text, and these two for integers and booleans.
MISSING_INTEGER = np.int32(-(2**31))
MISSING_FLAG = np.int8(-1)

# Part of every stream's seed. After a change of the model, raise it until the default population is
# an ordinary month for every weekday of its end (the tests check that).
EDITION = 4225


@dataclass(frozen=True, slots=True)
class Population:
    """One synthetic platform: `platform` and `truth` map table name → column name → array.

    All columns of a table have the same length. Kinds: S = ASCII text or JSON, i4 integer,
    i1 boolean (-1 = NULL), f8 number, M8[D] date, M8[us] timestamp in UTC.
    """

    parameters: Parameters
    platform: Mapping[str, Columns]
    truth: Mapping[str, Columns]

    def fingerprint(self) -> str:
        """Returns a SHA-256 over every name, type and byte: equal only for equal populations."""
        digest = hashlib.sha256()
        for schema, tables in (("platform", self.platform), ("truth", self.truth)):
            for table, columns in tables.items():
                for name, values in columns.items():
                    label = f"{schema}.{table}.{name} {values.dtype.str} {values.shape}"
                    digest.update(label.encode())
                    digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def is_missing(values: Array) -> Array:
    """True where a value stands for NULL in a column of this kind. Raises TypeError."""
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
    """Returns the number of rows of a table."""
    return len(next(iter(columns.values())))


def stream(seed: int, stage: str) -> np.random.Generator:
    """Returns the random stream of one stage. A stage that draws more does not shift the others."""
    return np.random.default_rng([EDITION, seed, *stage.encode()])


def make_ids(prefix: str, numbers: Array, width: int, highest: int) -> Array:
    """Returns `prefix` + zero-padded numbers: `width` digits, or more where `highest` has more."""
    width = max(width, len(str(highest)))
    digits = np.empty((len(numbers), len(prefix) + width), dtype=np.uint8)
    digits[:, : len(prefix)] = np.frombuffer(prefix.encode(), dtype=np.uint8)
    rest = numbers.astype(np.int64)
    for position in range(len(prefix) + width - 1, len(prefix) - 1, -1):
        rest, digit = np.divmod(rest, 10)
        digits[:, position] = digit + ord("0")
    return digits.view(f"S{len(prefix) + width}").ravel()


def text(values: Sequence[str]) -> Array:
    """Returns ASCII texts as an array that codes can index."""
    return np.array([value.encode("ascii") for value in values])


def flags(values: Array, missing: Array | None = None) -> Array:
    """Returns booleans as i1, -1 where `missing`."""
    result = values.astype(np.int8)
    if missing is not None:
        result[missing] = MISSING_FLAG
    return result


def concat(*parts: Array | bytes) -> Array:
    """Joins texts element by element; a plain text is repeated in every row."""
    joined: Any = parts[0]
    for part in parts[1:]:
        joined = np.strings.add(joined, part)
    return np.asarray(joined)


def pick(rng: np.random.Generator, shares: Sequence[float], size: int) -> Array:
    """Draws `size` codes from 0 to len(shares) - 1 with these shares (any sum)."""
    edges = np.cumsum(shares) / np.sum(shares)
    return np.searchsorted(edges[:-1], rng.random(size), side="right")


def blank(values: Array, missing: Array) -> Array:
    """Returns a copy of `values` with NULL where `missing`."""
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
