"""The same export in hundreds of spellings: the same platform, or a refusal with what to write.

Each import is a real one. What it leaves is compared by a hash of every table.
"""

from __future__ import annotations

import gzip
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.unit.sources.conftest import NOW, SESSION, TUTOR, Export, Imports
from tutor_pipeline.sources.csv.importing import ImportSummary, Wishes, import_folder

ABSENT = {
    "session_id": "S2",
    "session_completed": "False",
    "student_rating": "",
    "student_satisfaction": "",
    "would_recommend": "",
    "subject": "",
    "actual_duration_min": "",
    "connection_quality": "Poor",
}
SECOND = {"tutor_id": "T2", "certification_level": "", "last_login": ""}
ROWS: dict[str, list[dict[str, str]]] = {
    "tutor_profiles.csv": [TUTOR, {**TUTOR, **SECOND}],
    "sessions.csv": [
        SESSION,
        {**SESSION, **ABSENT},
        {**SESSION, "session_id": "S3", "tutor_id": "T2"},
    ],
}
BOOLEANS = {"active_status"} | {
    *("is_first_session", "session_completed", "student_showed", "tutor_showed"),
    *("had_technical_issues", "would_recommend"),
}
TIMES = {"last_login", "session_datetime"}
PERCENTS = {"student_attention_pct", "tutor_camera_on_pct", "screen_share_pct"}
ENUMS = {"connection_quality", "certification_level"}

HEADERS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "title": lambda name: name.replace("_", " ").title(),
    "camel": lambda name: name.title().replace("_", ""),
    "hyphens": lambda name: f" {name.replace('_', '-')} ",
    "no-break": lambda name: name.replace("_", "\u00a0"),
}
MISSING = ["", "NULL", "n/a", "NaN", "\\N", "-", "None", "  "]
WORDS = [("True", "False"), ("t", "F"), ("yes", "NO"), ("Y", "n"), ("on", "Off"), ("1", "0"),
         ("1.0", "0.0"), ("Checked", "unchecked")]  # fmt: skip
MOMENTS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "T": lambda text: text.replace(" ", "T"),
    "Z": lambda text: f"{text}Z",
    "UTC": lambda text: f"{text} UTC",
    "+00": lambda text: f"{text}+00",
    "zone": lambda text: f"{text} Africa/Abidjan",
    "+00:00": lambda text: f"{text} +00:00",
}


@dataclass(frozen=True)
class Form:
    """How a file is written."""

    separator: str = ","
    encoding: str = "utf-8"
    end: str = "\n"
    first: str = ""


FORMS = [
    Form(),
    Form(";"),
    Form("\t"),
    Form("|"),
    Form(",", "utf-8-sig", "\r\n"),
    Form(";", "utf-8", "\r\n", "sep=;"),
    Form("~", "utf-8", "\n", '"sep=~"'),
    Form("\t", "utf-16"),
    Form(",", "utf-16-be"),
    Form(";", "utf-16-le", "\r\n"),
    Form(",", "utf-8", "\r"),
    Form("\t", "utf-16", "\r"),
]
PACKED = ["plain", "gz", "zip each", "zip all", "upper case"]


@dataclass(frozen=True)
class Spelling:
    """One way to spell the export."""

    header: str = "plain"
    form: Form = Form()
    missing: str = ""
    words: tuple[str, str] = ("True", "False")
    moment: str = "plain"
    packed: str = "plain"
    other: bool = False

    def write(self, folder: Path) -> None:
        for name, rows in ROWS.items():
            lines = [[HEADERS[self.header](column) for column in rows[0]]]
            lines += [[self.value(*cell) for cell in row.items()] for row in rows]
            if self.other:
                lines += [[""] * len(rows[0]), ["Total"] + [""] * (len(rows[0]) - 1)]
            first = [self.form.first] if self.form.first else []
            text = self.form.end.join([*first, *map(self.line, lines), ""])
            self.put(folder, name, text.encode(self.form.encoding))

    def value(self, column: str, text: str) -> str:
        if not text:
            return self.missing
        if column in BOOLEANS:
            return self.words[0 if text == "True" else 1]
        if column in TIMES:
            return MOMENTS[self.moment](text)
        return self.odd(column, text) if self.other else text

    def odd(self, column: str, text: str) -> str:
        """A value as other programs write it."""
        if column in PERCENTS:
            return f"{text}%"
        if column in ENUMS:
            return f" {text.lower()} "
        others = {"subjects_taught": "{Math,Science}", "scheduled_duration_min": "1:00"}
        return others.get(column, f"{text} " if column.endswith("_id") else text)

    def line(self, fields: list[str]) -> str:
        return self.form.separator.join(
            f'"{field}"' if self.form.separator in field else field for field in fields
        )

    def put(self, folder: Path, name: str, content: bytes) -> None:
        if self.packed == "gz":
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        elif self.packed.startswith("zip"):
            archive = f"{name}.zip" if self.packed == "zip each" else "export.zip"
            with zipfile.ZipFile(folder / archive, "a", zipfile.ZIP_DEFLATED) as packed:
                packed.writestr(f"export/{name}", content)
        else:
            (folder / (name.upper() if self.packed == "upper case" else name)).write_bytes(content)


def spellings(count: int) -> list[Spelling]:
    """Spellings in which every value meets many of every other kind; the same each time."""

    def shuffled(values: list, seed: int) -> Iterator:  # type: ignore[type-arg]
        values = list(values)
        random.Random(seed).shuffle(values)
        return cycle(values)

    # Lengths without a common period: each round meets others.
    kinds = [
        shuffled([*HEADERS, "upper"], 1), shuffled([*FORMS, Form(";")], 2),
        shuffled([*MISSING, "", "NULL", "-"], 3), shuffled([*WORDS, *WORDS, WORDS[0]], 4),
        shuffled([*MOMENTS, *MOMENTS, "plain", "Z", "UTC", "zone", "T"], 5),
        shuffled(PACKED, 6), cycle([False, True, True, False]),
    ]  # fmt: skip
    return [Spelling(*each) for each in islice(zip(*kinds, strict=False), count)]


ALL = spellings(324)


def hash_of(imports: Imports) -> str:
    tables = imports.query(
        "select tablename from pg_tables where schemaname = 'platform' order by 1"
    )
    hashes = ", ".join(
        f"(select md5(string_agg(t::text, ' ' order by t::text)) from platform.{name} as t)"
        for (name,) in tables
    )
    ((found,),) = imports.query(f"select md5(concat_ws(' ', {hashes}))")
    return str(found)


def imported(imports: Imports, folder: Path) -> tuple[ImportSummary, str]:
    summary = import_folder(imports.warehouse, folder, Wishes(clear=True, max_bad=0), as_of=NOW)
    return summary, hash_of(imports)


def check(imports: Imports, tmp_path: Path, chosen: list[Spelling]) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    Spelling().write(plain)
    summary, wanted = imported(imports, plain)
    assert not summary.refused
    for number, spelling in enumerate(chosen):
        folder = tmp_path / str(number)
        folder.mkdir()
        spelling.write(folder)
        summary, found = imported(imports, folder)
        assert not summary.refused, (spelling, summary.refused)
        assert found == wanted, spelling


def test_the_spellings_are_many_and_all_kinds_meet() -> None:
    assert len(set(ALL)) >= 300
    for one, two, number in (
        ({each.header for each in ALL}, HEADERS, 6),
        ({each.form for each in ALL}, FORMS, 12),
        ({each.missing for each in ALL}, MISSING, 8),
        ({each.words for each in ALL}, WORDS, 8),
        ({each.moment for each in ALL}, MOMENTS, 7),
        ({each.packed for each in ALL}, PACKED, 5),
    ):
        assert one == set(two)
        assert len(one) == number
    # Every form in every packing, with every header.
    assert len({(each.form, each.packed) for each in ALL}) == len(FORMS) * len(PACKED)
    assert len({(each.form, each.header) for each in ALL}) == len(FORMS) * len(HEADERS)


def test_a_few_of_every_kind_give_the_same_platform(imports: Imports, tmp_path: Path) -> None:
    check(imports, tmp_path, ALL[:30])


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_spelling_gives_the_same_platform(imports: Imports, tmp_path: Path) -> None:
    check(imports, tmp_path, ALL)


UNCLEAR = [
    ("session_datetime", "03/04/2026 16:00", "write 2026-02-03 16:00:00+01:00"),
    ("session_datetime", "1770134400", "write 2026-02-03 16:00:00+01:00"),
    ("student_rating", "4,5", "write 4.5"),
    ("actual_duration_min", "58:30", "write minutes such as 58.5"),
    ("session_completed", "maybe", "True or False"),
    ("connection_quality", "Okay", "Excellent, Good, Fair or Poor"),
    ("student_attention_pct", "187%", "from 0 to 100"),
]


@pytest.mark.parametrize(("column", "text", "accepted"), UNCLEAR)
def test_what_is_not_clear_is_refused_with_what_is(
    export: Export, imports: Imports, column: str, text: str, accepted: str
) -> None:
    imports.run(export)
    before = imports.platform()
    for form in FORMS[:8]:
        spelling = Spelling(form=form)
        lines = [list(SESSION), list({**SESSION, column: text, "subject": "New"}.values())]
        first = [form.first] if form.first else []
        content = form.end.join([*first, *map(spelling.line, lines), ""]).encode(form.encoding)
        export.bytes("sessions.csv", content)
        (refused,) = imports.run(export, max_bad=0).refused
        (example,) = refused.examples
        assert (example.line, example.column, example.value) == (2 + len(first), column, text)
        assert accepted in example.accepted
    assert imports.platform() == before
