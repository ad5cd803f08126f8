"""Broken exports to order: random files of the format, of which it is known which rows are good."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tests.unit.sources.conftest import line_of
from tutor_pipeline.sources.csv.format import CsvColumn, CsvFile, csv_format
from tutor_pipeline.sources.csv.values import is_missing

NEWEST = datetime(2026, 3, 1, 9, 30)
TUTORS = [f"T{number}" for number in range(8)]

INJECTIONS = [
    "'; drop table platform.sessions; --",
    "' or 1=1 --",
    "$$; select pg_sleep(9); $$",
    "%(as_of)s %s {ops} {{ this }} {% raw %}",
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://example.com")',
    "+1+1",
    "-2+3",
    "@SUM(A1:A9)",
    "$(touch /tmp/owned); `id` && rm -rf / | sh",
    "../../etc/passwd",
    "\x1b[2J\x1b]0;owned\x07",
    "\u009b31mred\x7f\x08",
    "\u202etxt.exe\u202c \u200b\ufeff",
    "\\N",
    "\\.",
    'a\tb\\c"d\ne\r\nf,g',
    '"""',
    ",",
    "NULL",
    "ümläut \U0001f600 \u0e01\u0e33 ﷽",
    "{1,2}",
    "\\x00",
    "x" * 5_000,
]
"""Texts that mean something to somebody: SQL, templates, HTML, spreadsheets, shells, terminals."""
TEXTS = [text for text in INJECTIONS if not is_missing(text)]

_BAD_NUMBERS = (
    "inf -Infinity 1e400 -1e400 five 0x1F 1_000 4,5 1.234,5 -- +- 5e . １２ ٣ $5 true =1+1"
).split()
_BAD_NUMBERS += ["9" * 400, "1 2"]
_BAD = {
    "number": _BAD_NUMBERS,
    "integer": [*_BAD_NUMBERS, "1.5", "1e3", "50%", "2147483648", "-2147483649", "9" * 30],
    "minutes": [*_BAD_NUMBERS, "50%", "1:75", "58:30", "2147483648", "1:2:3", "9" * 30],
    "percent": [*_BAD_NUMBERS, "%", "50%%"],
    "share": [*_BAD_NUMBERS, "150%", "%"],
    "boolean": ["maybe", "2", "-1", "TRUE!", "0.5", "ja"],
    "timestamp": (
        "0001-01-01 0000-00-00 9999-12-31T23:59:59 1899-12-31 2200-01-01 2026-02-30 2026-13-01"
        " yesterday 1770134400 2026-02-03T16:00:00+99:99 -4712-01-01 infinity now() 03/02/2026"
        " 2026-02-03T25:00:00 0001-01-01T00:00:00+14:00 9999-12-31T23:59:59-14:00 1e9"
        " 3.2.2026 1912010100000 46056.5 2026-02-03T16:00EST"
    ).split(),
    "json": ["{", "{'a': 1}", '{"a": NaN}', '"\\u0000"', '"\\ud800"', "[" * 20_000, "a: 1", "\x01"],
    "id": ["", " ", "x" * 256, "long" * 1_000],
    "list": ["Math, pure; Art", '["Math", 1]', "{Math,{Art}}"],
    "text": [],
}


@dataclass(frozen=True)
class Line:
    """One record of a file: its bytes, the number of its first line, and its values if good."""

    raw: bytes
    number: int
    good: dict[str, str] | None


@dataclass(frozen=True)
class BrokenFile:
    """One file. `usable`: its rows can be read; otherwise it is refused whole.

    `exact`: each line is one record. (Bytes at random may be none, or several.)
    """

    file: CsvFile
    lines: list[Line]
    usable: bool
    exact: bool

    @property
    def good(self) -> list[dict[str, str]]:
        return [line.good for line in self.lines if line.good is not None]

    @property
    def surely_bad(self) -> int:
        return sum(line.good is None for line in self.lines)


def write_export(
    rng: random.Random, folder: Path, rows: int, *, bad: float, wild: bool
) -> list[BrokenFile]:
    """Write every file of the format, with about `rows` sessions, a share `bad` of them broken.

    `wild` also breaks whole files: header, encoding, separator.
    """
    folder.mkdir(exist_ok=True)
    made = []
    for file in csv_format().files:
        count = {"tutor_profiles": len(TUTORS), "sessions": rows}.get(file.stem, rows // 5)
        # The tutors stay good: else everything is refused with them, and nothing is tried.
        share = 0.0 if file.stem == "tutor_profiles" else bad
        sessions = [
            row["session_id"] for known in made for row in known.good if "session_id" in row
        ]
        broken = _write(rng, folder / file.name, file, count, share, sessions)
        if wild and share and rng.random() < 0.3:
            broken = _break_file(rng, folder / file.name, broken)
        made.append(broken)
    return made


def _write(
    rng: random.Random,
    path: Path,
    file: CsvFile,
    count: int,
    share: float,
    sessions: Sequence[str],
) -> BrokenFile:
    columns = list(file.columns)
    rng.shuffle(columns)
    header = [column.name for column in columns]
    extra = rng.sample(["mood", "", "=1+1", "notes; drop", "SESSION"], rng.randrange(3))
    number, lines = 2, []
    for index in range(count):
        row = {c.name: _good(rng, c, file, index, sessions) for c in columns} | {
            name: rng.choice(INJECTIONS) for name in extra
        }
        if rng.random() < share:
            raw, good = _broken(rng, file, columns, row), None
        else:
            raw, good = line_of(list(row.values())).encode(), row
        end = b"\r\n" if rng.random() < 0.1 else b"\n"
        raw = raw.rstrip(b"\n") + end
        lines.append(Line(raw, number, good))
        number += raw.count(b"\n")
        if rng.random() < 0.05:
            lines[-1] = Line(raw + b"\n", lines[-1].number, good)
            number += 1
    start = b"\xef\xbb\xbf" if rng.random() < 0.3 else b""
    path.write_bytes(
        start + line_of([*header, *extra]).encode() + b"".join(line.raw for line in lines)
    )
    return BrokenFile(file, lines, usable=True, exact=True)


def _good(
    rng: random.Random, column: CsvColumn, file: CsvFile, index: int, sessions: Sequence[str]
) -> str:
    given = {"session_completed": "True", "tutor_showed": "True"}
    if column.name == "tutor_id" and file.stem == "tutor_profiles":
        given["tutor_id"] = TUTORS[index]
    elif column.name == "session_id" and column.name in file.references:
        given["session_id"] = rng.choice(sessions) if sessions else "none"
    elif column.name in file.references:
        given[column.name] = rng.choice(TUTORS)
    elif column.name in file.key:
        given[column.name] = f"{file.stem}{index}"
    elif not column.required and rng.random() < 0.2:
        given[column.name] = rng.choice(["", " ", "NULL", "n/a", "-"])
    return given[column.name] if column.name in given else _value(rng, column)


def _value(rng: random.Random, column: CsvColumn) -> str:
    if column.accepted:
        return rng.choice(column.accepted)
    low = 0 if column.minimum is None else column.minimum
    high = 1_000 if column.maximum is None else column.maximum
    moment = NEWEST - timedelta(minutes=rng.randrange(60 * 24 * 60))
    makers: dict[str, Callable[[], str]] = {
        "timestamp": lambda: rng.choice([str(moment), f"{moment.isoformat()}+02:00"]),
        "integer": lambda: str(rng.randint(int(low), int(high))),
        "minutes": lambda: rng.choice([str(rng.randint(0, 300)), "58.5", "1:05"]),
        "percent": lambda: rng.choice([f"{rng.uniform(0, 100)!r}", "50%", "0"]),
        "share": lambda: rng.choice([f"{rng.random()!r}", "50%", "1"]),
        "list": lambda: rng.choice(["Math,Art", "Math; Art", '{Math,"a\\"b"}', '["Math"]']),
        "number": lambda: repr(rng.choice([low, high, rng.uniform(low, high)])),
        "boolean": lambda: rng.choice(["True", "false", "1", "0", "yes", "off"]),
        "json": lambda: json.dumps({"text": rng.choice(INJECTIONS)}),
        "text": lambda: rng.choice(TEXTS if column.required else INJECTIONS),
        "id": lambda: rng.choice(INJECTIONS)[:255],
    }
    return makers[column.type]()


def _broken(
    rng: random.Random, file: CsvFile, columns: list[CsvColumn], row: dict[str, str]
) -> bytes:
    """One record, or one line, that surely is no good row."""
    kind = rng.choice(["value", "value", "value", "values", "fields", "quote", "bytes", "unknown"])
    if kind == "fields":
        # Its first line only is taken: what a line end within it would cut off is a row of its own.
        fields = [field.replace("\n", "").replace("\r", "") for field in row.values()]
        fields = fields[: rng.randrange(1, len(fields))] if rng.random() < 0.5 else [*fields, "x"]
        if not any(map(str.strip, fields)):
            fields[0] = "x"  # a line of blanks is no row
        return line_of(fields).encode()
    if kind == "quote":
        texts = [
            field.replace('"', "").replace("\n", "").replace("\r", "") for field in row.values()
        ]
        return (",".join(text.replace(",", "") for text in texts[:-1]) + ',"open').encode()
    if kind == "bytes":
        at = rng.choice([c.name for c in columns if c.name in file.key])
        raw = line_of(list({**row, at: "MARK"}.values())).encode()
        return raw.replace(b"MARK", rng.choice([b"a\0b", b"caf\xe9", b"\xff\xfe", b"\xed\xa0\x80"]))
    if kind == "unknown" and file.references:
        return line_of(list({**row, rng.choice(list(file.references)): "nobody"}.values())).encode()
    breakable = [c for c in columns if _bad_values(c)]
    for column in rng.sample(breakable, 1 if kind != "values" else min(4, len(breakable))):
        row = {**row, column.name: rng.choice(_bad_values(column))}
    return line_of(list(row.values())).encode()


def _bad_values(column: CsvColumn) -> list[str]:
    bad = list(_BAD[column.type])
    if column.required:
        bad += ["", "  "]
    if column.accepted:
        bad += TEXTS
        bad.append(column.accepted[0].upper() + "!")
    if column.minimum is not None:
        bad += [str(int(column.minimum) - 1), "-1e300", "-2147483648"]
    if column.maximum is not None:
        bad += [str(int(column.maximum) + 1), f"{column.maximum + 0.0001:.4f}"]
    if column.max_length is not None:
        bad.append("y" * (column.max_length + 1))
    return bad


def _break_file(rng: random.Random, path: Path, broken: BrokenFile) -> BrokenFile:
    content = path.read_bytes()
    header, _, rest = content.partition(b"\n")
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    kind = rng.choice(["empty", "utf-16", "semicolons", "twice", "missing", "binary", "header"])
    key = broken.file.key[0].encode()
    changed = {
        "empty": b"",
        "utf-16": text.encode(rng.choice(["utf-16", "utf-16-le", "utf-16-be"])),
        "semicolons": header.replace(b",", b";") + b"\n" + rest,
        "twice": header + b"," + key + b"\n" + rest,
        "missing": header.replace(key, b"other") + b"\n" + rest,
        "binary": rng.randbytes(rng.randrange(1, 5_000)),
        "header": header + b"\n",
    }[kind]
    path.write_bytes(changed)
    if kind == "header":
        return BrokenFile(broken.file, [], usable=True, exact=True)
    # In UTF-16 it is as good as before; with a header of its own separator every row is bad.
    usable = kind in ("utf-16", "semicolons")
    return BrokenFile(broken.file, [], usable=usable, exact=False)
