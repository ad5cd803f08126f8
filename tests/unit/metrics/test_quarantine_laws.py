"""Whatever a lax platform's rows hold: each is clean or quarantined, and no bad one is counted.

The platform here has no keys, texts for numbers and for booleans, and moments of several types.
Most rows are good; the others are broken on purpose, so that it is known what must be said of them.
One build labels a whole batch.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.metrics.conftest import Bench
from tests.unit.sources.fuzz import INJECTIONS, write_export
from tests.unit.sources.fuzz import TUTORS as CSV_TUTORS
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.csv.importing import Wishes, import_folder
from tutor_pipeline.sources.quarantine import QuarantineSummary, sync_live

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
TUTORS = [f"t{number}" for number in range(6)]
STUDENTS = [f"p{number}" for number in range(20)]
ENDLESS = "".join(map(str, range(2_000)))
"""An id longer than an index takes, even compressed."""

SESSIONS = {
    "id": "text",
    "tutor_id": "varchar",
    "student_id": "text",
    "scheduled_start": "timestamptz",
    "actual_start": "timestamp",
    "status": "text",
    "scheduled_duration": "text",
    "actual_duration": "numeric",
    "subject": "text",
    "session_number": "bigint",
    "is_first_session": "text",
    "tutor_showed_up": "text",
    "student_showed_up": "smallint",
    "rescheduled_by": "varchar(20)",
    "reschedule_reason": "text",
    "technical_issues": "boolean",
    "connection_quality": "text",
    "grade_level": "text",
    "overall_session_score": "text",
    "updated_at": "timestamp",
    "not_ours": "text",
}
PARTS = {
    "session_audio_metrics": {
        "tutor_talk_ratio": "text",
        "student_talk_ratio": "real",
        "student_engagement_score": "numeric",
        "tutor_enthusiasm_score": "double precision",
        "student_initiated_questions": "text",
        "student_frustration_count": "bigint",
        "student_confusion_count": "numeric",
        "tutor_checks_understanding_count": "double precision",
        "tutor_positive_reinforcement_count": "real",
        "open_ended_questions": "integer",
        "closed_ended_questions": "text",
    },
    "session_transcript_metrics": {
        "empathy_score": "text",
        "clarity_score": "double precision",
        "overall_sentiment": "numeric",
        "student_sentiment": "real",
        "tutor_sentiment": "text",
    },
    "session_feedback": {
        "student_satisfaction_rating": "text",
        "satisfaction_score": "numeric",
        "would_recommend": "text",
        "feedback_text": "text",
    },
}
ROSTER = """
    create table {platform}.tutors (user_id text, active_status text);
    create table {platform}.students (user_id text);
    create table {platform}.users (id text, role text);
    insert into {platform}.tutors values (null, null), ('t0', 'yes'), ('t1', 'perhaps'), ('t1', '');
    insert into {platform}.students values (null);
    insert into {platform}.users values (null, 'tutor'), (null, 'student'), ('t0', 'Tutor');
"""
SHORT = [text for text in INJECTIONS if len(text) < 255]
NO_NUMBERS = ["five", "4,5", "1e400", "-1e400", "0x", "١", "--1", "NaN!", "null", *SHORT[:9]]
NEVER = ["infinity", "-infinity", "0001-01-01", "9999-12-31", "4713-01-01 BC", "1899-12-30"]


@dataclass
class Incoming:
    """A session as the platform has it, what hangs on it, and what must be said of each.

    Two sessions with one id share `parts` and `of_parts`.
    """

    tag: str
    session: dict[str, Any]
    parts: dict[str, dict[str, Any]]
    of_session: set[str] = field(default_factory=set)
    of_parts: set[str] = field(default_factory=set)

    @property
    def reasons(self) -> set[str]:
        """Why it must not be counted, other than that its id is there twice."""
        status, found = self.session["status"], self.of_session | self.of_parts
        if status == "completed" and self.session["tutor_showed_up"] == "No":
            found.add("completed_without_tutor")
        ratings = ("student_satisfaction_rating", "satisfaction_score")
        feedback = self.parts.get("session_feedback", {})
        if status not in (None, "completed") and any(
            feedback.get(name) not in (None, "") for name in ratings
        ):
            found.add("rating_without_completion")
        return found


def good_row(rng: random.Random, tag: str) -> Incoming:
    """A row that breaks nothing. Its tag is a text that passes through, whatever else is broken."""
    status = rng.choice(["completed"] * 6 + ["scheduled", "cancelled", "rescheduled"])
    start = AS_OF - timedelta(minutes=rng.randrange(-3 * 24 * 60, 100 * 24 * 60))
    session = {
        "id": f"s{tag}",
        "tutor_id": rng.choice(TUTORS),
        "student_id": rng.choice([None, *STUDENTS]),
        "scheduled_start": start,
        "actual_start": (start + timedelta(minutes=rng.choice([0, 7]))).replace(tzinfo=None),
        "status": status,
        "scheduled_duration": rng.choice(["60", " 45 ", "30.0", "", None]),
        "actual_duration": rng.choice([58, 0, None]),
        "session_number": rng.choice([1, 2, 2**31 - 1, None]),
        "is_first_session": rng.choice(["yes", "F", " true", "", None]),
        "tutor_showed_up": rng.choice(["1", "t", None]),
        "student_showed_up": rng.choice([0, 1, None]),
        "rescheduled_by": rng.choice(["tutor", "student", None]),
        "reschedule_reason": tag,
        "technical_issues": rng.choice([True, False, None]),
        "connection_quality": rng.choice(["Good", "Poor", None]),
        "overall_session_score": rng.choice(["10", "0", "7.25", "1e1", "", None]),
        "updated_at": rng.choice([None, datetime(2026, 1, 1)]),
        **{
            name: rng.choice([None, *INJECTIONS]) for name in ("subject", "grade_level", "not_ours")
        },
    }
    parts = {
        table: {
            "session_id": session["id"],
            **{
                name: None if rng.random() < 0.2 else good_value(rng, name, kind)
                for name, kind in columns.items()
            },
        }
        for table, columns in PARTS.items()
        if rng.random() < 0.8
    }
    if status != "completed" and "session_feedback" in parts:
        parts["session_feedback"] |= {"student_satisfaction_rating": "", "satisfaction_score": None}
    return Incoming(tag, session, parts)


def good_value(rng: random.Random, name: str, kind: str) -> Any:
    if name == "feedback_text":
        return rng.choice(INJECTIONS)
    if name == "would_recommend":
        return rng.choice(["no", "Yes", ""])
    low, high = BOUNDS[name]
    number = rng.choice([low, min(high, 2_000_000_000), rng.uniform(low, min(high, 90))])
    if INTEGERS & {name}:
        number = int(number)
    return f" {number}" if kind == "text" else number


def number_columns() -> dict[str, tuple[float, float]]:
    """The bounds of the contract's numbers; a number without one has that of its type."""
    return {
        column.name: (
            -(2**31) + 1 if column.minimum is None else column.minimum,
            2**31 - 1 if column.maximum is None else column.maximum,
        )
        for table in CONTRACT_TABLES
        for column in table.columns
        if column.type in ("integer", "double precision")
    }


CONTRACT_TABLES = [load_contract().table(name) for name in ("sessions", *PARTS)]
BOUNDS = number_columns()
INTEGERS = {c.name for table in CONTRACT_TABLES for c in table.columns if c.type == "integer"}


def bad_number(rng: random.Random, name: str, kind: str) -> Any:
    low, high = BOUNDS[name]
    outside: list[Any] = [low - 1, -(2**40), max(high + 1, 2**32)]
    if kind not in ("integer", "bigint"):
        outside += ["NaN", "Infinity", "-Infinity"]
    more = {
        "integer": [-(2**31)],
        "bigint": [2**63 - 1, -(2**63)],
        "numeric": ["1e400", "9" * 200, "-1e1000"],
        "double precision": [1e308, -1e308, low - 0.5001],
        "text": NO_NUMBERS,
    }
    if kind == "integer":
        outside = [low - 1]
    value = rng.choice(outside + more.get(kind, []))
    return str(value) if kind == "text" else value


def bad_values(rng: random.Random) -> dict[str, list[tuple[Any, set[str]]]]:
    """Of the session's columns that are no numbers: values, and what must be said of each."""
    one_of: Callable[..., Any] = lambda *values: rng.choice([*values, *SHORT])  # noqa: E731
    unknown_value = {
        "status": one_of("", "Completed", "done"),
        "rescheduled_by": rng.choice(["", "Tutor", "robot", "'; --"]),
        "connection_quality": one_of("", "good"),
        "is_first_session": one_of("2", "maybe"),
        "tutor_showed_up": one_of("perhaps"),
    }
    bad: dict[str, list[tuple[Any, set[str]]]] = {
        "id": [(None, {"id_missing"}), (ENDLESS, {"id_out_of_range"})],
        "tutor_id": [
            (None, {"tutor_id_missing"}),
            (ENDLESS, {"tutor_id_out_of_range", "unknown_tutor"}),
            (one_of("nobody", "", "p1", " t1"), {"unknown_tutor"}),
        ],
        "student_id": [
            (ENDLESS, {"student_id_out_of_range", "unknown_student"}),
            (one_of("nobody", "", "t1"), {"unknown_student"}),
        ],
        "scheduled_start": [(None, {"scheduled_start_missing"})],
        "status": [(None, {"status_missing"})],
        "tutor_showed_up": [("No", set())],  # bad in a completed session only
    }
    for column in ("scheduled_start", "actual_start", "updated_at"):
        bad.setdefault(column, []).append((rng.choice(NEVER), {f"{column}_out_of_range"}))
    for column, value in unknown_value.items():
        bad.setdefault(column, []).append((value, {f"{column}_unknown_value"}))
    return bad


def break_row(rng: random.Random, row: Incoming) -> None:
    """Break one to four values."""
    texts = bad_values(rng)
    breakable = [("sessions", name) for name in (*texts, *(BOUNDS.keys() & SESSIONS.keys()))]
    breakable += [(part, name) for part in row.parts for name in BOUNDS.keys() & PARTS[part].keys()]
    for table, name in rng.sample(sorted(breakable), rng.choice([1, 1, 2, 4])):
        if table != "sessions":
            if table in row.parts:
                row.parts[table][name] = bad_number(rng, name, PARTS[table][name])
                row.of_parts.add(f"{name}_out_of_range")
        elif name in BOUNDS:
            row.session[name] = bad_number(rng, name, SESSIONS[name])
            row.of_session.add(f"{name}_out_of_range")
        else:
            value, reasons = rng.choice(texts[name])
            row.session[name] = f"{value}{row.tag}" if name == "id" and value else value
            row.of_session |= reasons
    identity = row.session["id"]
    if identity is None:  # nothing can hang on it
        row.parts.clear()
        row.of_parts.clear()
    for part in row.parts.values():
        part["session_id"] = identity


def batch(rng: random.Random, size: int, *, bad: float) -> list[Incoming]:
    """Rows with a share of bad ones; some twice byte for byte, some with the id of another."""
    rows = []
    for number in range(size):
        row = good_row(rng, str(number))
        if rng.random() < bad:
            break_row(rng, row)
        if rows and rng.random() < 0.1:
            other = rng.choice(rows)
            if rng.random() < 0.5:
                row = other
            elif other.session["id"] is not None and len(other.session["id"]) < 256:
                row = good_row(rng, str(number))
                row.session["id"] = other.session["id"]
                row.parts, row.of_parts = other.parts, other.of_parts
        rows.append(row)
    return rows


class Platform:
    """The lax platform, the builds on it, and what became of its rows."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        tables = {"sessions": SESSIONS} | {
            name: {"session_id": "text", **columns} for name, columns in PARTS.items()
        }
        for name, columns in tables.items():
            listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            bench.execute(
                f"drop table {{platform}}.{name}; create table {{platform}}.{name} ({listed})"
            )
        bench.execute(
            "drop table {platform}.tutors, {platform}.students, {platform}.users;" + ROSTER
        )
        bench.insert("tutors", [{"user_id": tutor} for tutor in TUTORS])
        bench.insert("students", [{"user_id": student} for student in STUDENTS[:10]])
        bench.insert("users", [{"id": student, "role": "student"} for student in STUDENTS[10:]])

    def fill(self, rows: Sequence[Incoming]) -> None:
        """Replace all sessions, and what hangs on them."""
        tables = ", ".join(f"{{platform}}.{name}" for name in ("sessions", *PARTS))
        self.bench.execute(f"truncate {tables}")
        self.bench.insert("sessions", [row.session for row in rows])
        parts = {id(row.parts): row.parts for row in rows}.values()
        for table in PARTS:
            self.bench.insert(table, [part[table] for part in parts if table in part])

    def build(self, at: datetime = AS_OF, *select: str) -> QuarantineSummary:
        """Label, compute, and bring the quarantine in step."""
        self.bench.refresh(AS_OF, select=select)
        return self.sync(at)

    def sync(self, at: datetime) -> QuarantineSummary:
        with self.bench.warehouse.connect() as database:
            return sync_live(database, at)

    def labels(self) -> list[dict[str, Any]]:
        return self.bench.rows(
            "select reschedule_reason as tag, session_id, quarantine_reasons as reasons, row_key"
            " from {staging}.session_rows"
        )

    def entries(self) -> list[dict[str, Any]]:
        return self.bench.rows("select * from {ops}.quarantine order by row_key")

    def open_tags(self) -> Counter[str]:
        return Counter(
            entry["payload"]["reschedule_reason"]
            for entry in self.entries()
            if entry["resolved_at"] is None
        )


@pytest.fixture(scope="module")
def platform(bench: Any) -> Platform:
    return Platform(bench)


def test_the_laws_of_the_quarantine(platform: Platform) -> None:
    check_laws(platform, seed=1, size=300)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 103))
def test_the_laws_of_the_quarantine_at_length(platform: Platform, seed: int) -> None:
    check_laws(platform, seed, size=2_000)


def check_laws(platform: Platform, seed: int, size: int) -> None:
    rng = random.Random(seed)
    platform.bench.execute("truncate {ops}.quarantine")
    rows = batch(rng, size, bad=0.4)
    platform.fill(rows)
    summary = platform.build()
    check_labels(platform, rows)
    check_conservation(platform, rows, summary)
    check_payloads(platform)
    check_bounds(platform.bench, TUTORS)

    before = platform.entries()
    assert platform.sync(AS_OF).resolved == 0
    assert platform.entries() == before

    check_correcting_and_breaking_again(platform, rng, rows)


def check_labels(platform: Platform, rows: Sequence[Incoming]) -> None:
    """Each row says exactly what was broken, and of rows with one id one is no duplicate."""
    expected = {row.tag: row.reasons for row in rows}
    ids: Counter[str] = Counter()
    firsts: Counter[str] = Counter()
    for label in platform.labels():
        reasons = set(label["reasons"])
        assert len(label["reasons"]) == len(reasons)
        assert reasons - {"duplicate_id"} == expected[label["tag"]], label
        if label["session_id"] is None:
            assert "duplicate_id" not in reasons
        else:
            ids[label["session_id"]] += 1
            firsts[label["session_id"]] += "duplicate_id" not in reasons
    assert set(firsts.values()) == {1}
    assert max(ids.values()) > 1


def check_conservation(
    platform: Platform, rows: Sequence[Incoming], summary: QuarantineSummary
) -> None:
    """In = clean + open; a row is in exactly one of the two."""
    clean = Counter(
        row["reschedule_reason"]
        for row in platform.bench.rows("select reschedule_reason from {marts}.fct_sessions")
    )
    bad = platform.open_tags()
    assert clean + bad == Counter(row.tag for row in rows)
    assert (summary.rows, summary.clean, summary.quarantined) == (
        len(rows), clean.total(), bad.total(),
    )  # fmt: skip
    assert clean.total() > len(rows) / 4
    assert bad.total() > len(rows) / 4


def check_payloads(platform: Platform) -> None:
    """What the platform gave is in the payload as it gave it, the bad values too."""
    parts = " union all ".join(
        f"select session_id, to_jsonb(p) - 'session_id' as given from {{platform}}.{name} as p"
        for name in PARTS
    )
    unlike = platform.bench.rows(
        f"""
        select entry.payload, session.given
        from {{ops}}.quarantine as entry
        cross join lateral (
            select jsonb_strip_nulls(
                to_jsonb(s) - array['id', 'not_ours'] || jsonb_build_object('session_id', s.id)
            ) as given
            from {{platform}}.sessions as s
            where s.reschedule_reason = entry.payload ->> 'reschedule_reason'
            limit 1
        ) as session
        where not entry.payload @> session.given
        union all
        select entry.payload, part.given
        from {{ops}}.quarantine as entry
        join ({parts}) as part on part.session_id = entry.payload ->> 'session_id'
        where not entry.payload @> jsonb_strip_nulls(part.given)
        """
    )
    assert unlike == []


def check_bounds(bench: Any, tutors: Sequence[str]) -> None:
    """Every number that anybody reads is finite and within what its kind allows."""
    for column in load_contract().table("sessions").columns:
        if column.accepted:
            found = bench.rows(f"select distinct {column.name} as v from {{marts}}.fct_sessions")
            assert {row["v"] for row in found} <= {None, *column.accepted}
    facts = bench.rows("select * from {marts}.fct_sessions")
    for row in facts:
        for name, (low, high) in BOUNDS.items():
            value = row.get(name)
            assert value is None or low <= value <= high, (name, value)
        assert row["tutor_id"] in tutors
        assert 1899 <= row["scheduled_start"].year <= 2200
    for table in ("{intermediate}.int_tutor_days", "{marts}.tutor_aggregates"):
        rows = bench.rows(f"select * from {table}")
        assert rows
        for row in rows:
            for name, value in row.items():
                if isinstance(value, int | float):
                    low, high = metric_bounds(name)
                    assert math.isfinite(value), (name, value)
                    assert low <= value <= high, (name, value)


METRIC_BOUNDS = {
    r"_n$|_count|count_": (0, 10**6),
    r"_sum|minutes": (-math.inf, math.inf),
    r"change_pct": (-1, math.inf),
    r"change|sentiment": (-10, 10),
    r"avg_rating": (1, 5),
    r"rate|share|talk_ratio|camera_on|attention": (0, 1),
    r"score|engagement|empathy|clarity|satisfaction": (0, 10),
    r"": (0, 2**31),
}
"""What a metric may be, by the first of these words that its name has."""


def metric_bounds(name: str) -> tuple[float, float]:
    return next(bounds for words, bounds in METRIC_BOUNDS.items() if re.search(words, name))


def check_correcting_and_breaking_again(
    platform: Platform, rng: random.Random, rows: Sequence[Incoming]
) -> None:
    """Exactly the corrected rows resolve; broken again, they open with the history they had."""
    times = Counter(row.session["id"] for row in rows)
    alone = [row for row in rows if row.reasons and times[row.session["id"]] == 1]
    corrected = {row.tag for row in rng.sample(alone, len(alone) // 3)}
    mended = [good_row(rng, row.tag) if row.tag in corrected else row for row in rows]
    before = {entry["row_key"]: entry for entry in platform.entries()}
    later, latest = AS_OF + timedelta(hours=1), AS_OF + timedelta(hours=2)

    platform.fill(mended)
    summary = platform.build(later, "session_rows")
    assert summary.resolved == len(corrected) > 10
    for entry in platform.entries():
        was = before.pop(entry["row_key"])
        is_corrected = entry["payload"]["reschedule_reason"] in corrected
        assert entry["resolved_at"] == (later if is_corrected else None)
        assert entry["last_seen"] == (AS_OF if is_corrected else later)
        unchanged = ("first_seen", "payload", "reasons", "business_key")
        assert [entry[name] for name in unchanged] == [was[name] for name in unchanged]
    assert before == {}

    platform.fill(rows)
    summary = platform.build(latest, "session_rows")
    entries = platform.entries()
    assert (summary.resolved, len(entries)) == (0, summary.quarantined)
    for entry in entries:
        seen = (entry["first_seen"], entry["last_seen"], entry["resolved_at"])
        assert seen == (AS_OF, latest, None)


def test_nothing_but_bad_rows_and_then_nothing_at_all(platform: Platform) -> None:
    rng = random.Random(5)
    platform.bench.execute("truncate {ops}.quarantine")
    rows = [row for row in batch(rng, 150, bad=1) if row.reasons]
    platform.fill(rows)
    summary = platform.build(AS_OF, "session_rows", "fct_sessions")
    assert (summary.clean, summary.quarantined) == (0, len(rows))
    assert platform.bench.rows("select * from {marts}.fct_sessions") == []

    platform.fill([])
    later = AS_OF + timedelta(hours=1)
    assert platform.build(later) == QuarantineSummary(0, 0, 0, {}, len(rows))
    assert platform.sync(later) == QuarantineSummary(0, 0, 0, {}, 0)
    wide = platform.bench.rows("select * from {marts}.tutor_aggregates")
    assert {row["tutor_id"] for row in wide} == {"t0", *TUTORS}
    assert {row["sessions_completed_all"] for row in wide} == {0}


def test_what_an_import_lets_through_is_good_to_be_counted(
    databases: Any, dbt_home: Path, tmp_path: Path
) -> None:
    check_imported(Bench(Warehouse(databases.create()), dbt_home), tmp_path, seed=3, rows=300)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 102))
def test_what_many_imports_let_through_is_good_to_be_counted(
    databases: Any, dbt_home: Path, tmp_path: Path, seed: int
) -> None:
    check_imported(Bench(Warehouse(databases.create()), dbt_home), tmp_path, seed, rows=2_000)


def check_imported(bench: Bench, folder: Path, seed: int, rows: int) -> None:
    """The two ways in have one contract: staging finds nothing in the rows that were loaded."""
    files = write_export(random.Random(seed), folder / "export", rows, bad=0.5, wild=False)
    import_folder(bench.warehouse, folder / "export", Wishes(max_bad=1), as_of=AS_OF)
    bench.refresh(AS_OF, select=["+tutor_aggregates"])
    with bench.warehouse.connect() as database:
        summary = sync_live(database, AS_OF)
    (sessions,) = (file for file in files if file.file.stem == "sessions")
    assert summary.by_reason == {}
    assert summary.clean == len(sessions.good) > rows / 4
    check_bounds(bench, CSV_TUTORS)
