"""A seeded fault for every check: it trips that check and no other, with the right rows.

Faults of single rows are seeded many at once, each in a row of its own, and each check must list
exactly the rows that are meant for it: a fault that tripped another check would be listed there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, write_header
from tutor_pipeline.judgement.quality.outcome import MAX_SAMPLE, Outcome, Status, plain
from tutor_pipeline.judgement.quality.run import placeholders, run_suite
from tutor_pipeline.judgement.quality.suites import PERSONAL, QUERY, Suite, load_suites
from tutor_pipeline.metrics import dbt
from tutor_pipeline.sources.quarantine import sync_live
from tutor_pipeline.steps.build import Check, outcome_of

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
CHECKS = {check.name: suite.name for suite in load_suites() for check in suite.checks}
TABLES = (
    "staging/session_rows", "marts/fct_sessions", "marts/tutor_aggregates", "marts/dim_tutors",
    "ops/quarantine", "ops/current_tutor_risk",
)  # fmt: skip

# 40 tutors with a session on each of 60 days, the last of them tomorrow's: as many on one day as on
# any other. Who has more experience shows more empathy. Each tenth day's sessions were cancelled.
SOUND = """
    insert into {platform}.users (id, name, email, role)
    select 't' || n, 'Ada Secret', 'ada@secret.example', 'tutor' from generate_series(101, 140) as n
    union all
    select 'p' || n, 'Ben Secret', 'ben@secret.example', 'student'
    from generate_series(101, 140) as n;

    insert into {platform}.tutors (user_id, months_experience)
    select 't' || n, n - 100 from generate_series(101, 140) as n;

    insert into {platform}.sessions
        (id, tutor_id, student_id, scheduled_start, actual_duration, status, tutor_showed_up)
    select
        's' || lpad((40 * day + n - 100)::text, 4, '0'), 't' || n, 'p' || n,
        timestamptz '2026-03-19 10:00+00' - interval '1 day' * day,
        case when known.status = 'completed' then 60 end,
        known.status,
        case when known.status = 'completed' then true end
    from generate_series(101, 140) as n, generate_series(0, 59) as day,
        lateral (
            select case
                when day = 0 then 'scheduled' when day % 10 = 9 then 'cancelled' else 'completed'
            end as status
        ) as known;

    insert into {platform}.session_audio_metrics
        (session_id, tutor_talk_ratio, student_talk_ratio, student_engagement_score)
    select id, 0.5, 0.4, 7 from {platform}.sessions where status = 'completed';

    insert into {platform}.session_video_metrics
        (session_id, student_on_screen_attention_pct, tutor_camera_on_pct)
    select id, 0.8, 0.9 from {platform}.sessions where status = 'completed';

    insert into {platform}.session_transcript_metrics (session_id, empathy_score, clarity_score)
    select session.id, 5 + tutor.months_experience / 20.0, 7
    from {platform}.sessions as session
    inner join {platform}.tutors as tutor on session.tutor_id = tutor.user_id
    where session.status = 'completed';

    insert into {platform}.session_feedback
        (session_id, student_satisfaction_rating, satisfaction_score, feedback_text)
    select id, 4, 8, 'my secret' from {platform}.sessions where status = 'completed';
"""
RISK = """
    insert into {ops}.current_tutor_risk
        (tutor_id, as_of, scorer, version, score, is_probability, level, reasons, status)
    select
        't' || n, timestamptz '2026-03-18 15:30+00', 'signals', '1', 0.2, false, 'Low',
        '[{{"code": "rating_trend_down", "contribution": 0}},
          {{"code": "few_sessions", "contribution": -0.1}}]',
        'ok'
    from generate_series(101, 140) as n
"""


@dataclass(frozen=True)
class Bench:
    """One database, the steps of a refresh before the checks, and the checks."""

    warehouse: Warehouse
    home: Path
    suites: Sequence[Suite]

    def build(self) -> None:
        """Make the tables from the platform, and bring the quarantine in step with them."""
        refresh = RefreshRun(uuid4().hex, AS_OF)
        write_header(self.warehouse, refresh)
        environment = dbt.dbt_environment(self.warehouse, refresh.run_id, self.home)
        dbt.invoke(["run", "--select", "+tutor_aggregates"], environment)
        with self.warehouse.connect() as database:
            sync_live(database, AS_OF)

    def execute(self, statements: str, parameters: Sequence[Any] | None = None) -> None:
        """Run statements with {schema} names filled in, and commit."""
        with self.warehouse.connect() as database:
            database.execute(statements, parameters)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query with {schema} names filled in."""
        with self.warehouse.connect(row_factory=psycopg.rows.dict_row) as database:
            return database.execute(placeholders(self.warehouse, AS_OF)(query)).fetchall()

    def keep(self) -> None:
        """Remember the tables as they are."""
        self.execute("create schema kept")
        for table in TABLES:
            self._copy("create table kept.{kept} as table {schema}.{table}", table)

    def restore(self, tables: Iterable[str] = TABLES) -> None:
        """Put tables back as they were."""
        for table in tables:
            self._copy(
                "truncate {schema}.{table}; insert into {schema}.{table} table kept.{kept}", table
            )

    def _copy(self, statement: str, asset: str) -> None:
        schema, table = asset.split("/")
        names = {
            "kept": sql.Identifier(table),
            "schema": sql.Identifier(getattr(self.warehouse.schemas, schema)),
            "table": sql.Identifier(table),
        }
        with self.warehouse.connect() as database:
            database.execute(sql.SQL(statement).format(**names))

    def evaluate(self, tables: Iterable[str] = TABLES) -> dict[str, Outcome]:
        """Outcomes of all suites that read one of the tables, by name of the check."""
        read = set(tables)
        return {
            outcome.check: outcome
            for suite in self.suites
            if read & reads(suite)
            for outcome in run_suite(suite, self.warehouse, AS_OF)
        }


def reads(suite: Suite) -> set[str]:
    """The tables that a suite looks at, as assets."""
    return {suite.asset} | tables_in(" ".join(str(check.kwargs) for check in suite.checks))


def tables_in(text: str) -> set[str]:
    """The tables that SQL names, as assets."""
    return {"/".join(each) for each in re.findall(r"\{(\w+)\}\.(\w+)", text)}


Expected = dict[str, list[tuple[str | None, Mapping[str, Any]]]]
"""{check: [(key of a row that it must list, some of what it must show)]}."""


def failing(outcomes: Mapping[str, Outcome]) -> set[str]:
    assert not [each for each in outcomes.values() if each.status is Status.ERRORED]
    return {name for name, each in outcomes.items() if not each.passed}


# Rows that come in -------------------------------------------------------------------------------

AUDIO, VIDEO, SCREEN = (f"session_{part}_metrics" for part in ("audio", "video", "screen"))
TRANSCRIPT, FEEDBACK = "session_transcript_metrics", "session_feedback"
NAN, INF = float("nan"), float("inf")
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Incoming:
    """A session of the platform. `trips` are the checks that must list it, one of `shows` is what
    they must show of it, `parts` are its rows in other tables.
    """

    trips: frozenset[str]
    shows: Mapping[str, Any]
    session: Mapping[str, Any]
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def incoming(*trips: str, shows: Mapping[str, Any] | None = None, **session: Any) -> Incoming:
    return Incoming(frozenset(trips), shows or session, session)


def part(trips: str | None, table: str, column: str, value: Any, **session: Any) -> Incoming:
    row = {column: value}
    return Incoming(frozenset({trips} if trips else ()), row, session, {table: row})


def other(reason: str, **session: Any) -> Incoming:
    return incoming(OTHER, shows={"quarantine_reasons": [reason]}, **session)


UNIQUE, RATED = "session_id_is_unique", "rating_only_after_completion"
START, TALK = "scheduled_start_is_a_moment", "talk_ratio_lies_in_0_to_1"
SHARE, SCORE = "share_lies_in_0_to_1", "score_lies_in_its_range"
OTHER = "other_values_keep_the_contract"
RATING, RATING_COLUMN = "rating_lies_in_1_to_5", "student_satisfaction_rating"
INCOMING = [
    # Two rows without an id, the same to the byte.
    incoming("session_has_an_id", id=None, scheduled_start=AS_OF),
    incoming("session_has_an_id", id=None, scheduled_start=AS_OF),
    incoming(id="twice", updated_at=AS_OF),
    incoming(UNIQUE, id="twice", updated_at=AS_OF - timedelta(hours=1)),
    incoming("tutor_exists", tutor_id=None),
    incoming("tutor_exists", tutor_id="nobody"),
    incoming("tutor_exists", tutor_id="p101"),
    incoming("student_exists", student_id="nobody"),
    incoming("student_exists", student_id="t101"),
    incoming(student_id=None),
    incoming(START, scheduled_start=None),
    incoming(START, scheduled_start="infinity"),
    incoming(START, scheduled_start="-infinity"),
    incoming(START, scheduled_start="0001-01-01 00:00:00+00"),
    incoming("status_is_known", status=None),
    incoming("status_is_known", status="Completed"),
    part(RATED, FEEDBACK, RATING_COLUMN, 4, status="cancelled"),
    part(RATED, FEEDBACK, "satisfaction_score", 8, status="no_show_student"),
    incoming("completed_only_with_tutor", tutor_showed_up=False),
    incoming(tutor_showed_up=None),
    incoming(tutor_showed_up=False, status="no_show_tutor"),
    *(part(RATING, FEEDBACK, RATING_COLUMN, value) for value in (0.99, 5.01, NAN)),
    *(part(None, FEEDBACK, RATING_COLUMN, value) for value in (1, 5, None)),
    *(part(TALK, AUDIO, "tutor_talk_ratio", value) for value in (-0.01, NAN)),
    *(part(TALK, AUDIO, "student_talk_ratio", value) for value in (1.01, INF)),
    *(part("talk_ratio_is_usual", AUDIO, "tutor_talk_ratio", value) for value in (0, 1)),
    part(SHARE, VIDEO, "student_on_screen_attention_pct", 1.01),
    part(SHARE, VIDEO, "tutor_camera_on_pct", -0.01),
    part(SHARE, SCREEN, "active_tab_focus_pct", NAN),
    part(SHARE, SCREEN, "screen_share_pct", 80),
    incoming(SCORE, overall_session_score=10.01),
    part(SCORE, AUDIO, "student_engagement_score", -0.01),
    part(SCORE, AUDIO, "tutor_enthusiasm_score", INF),
    part(SCORE, VIDEO, "student_visual_engagement_score", 11),
    part(SCORE, TRANSCRIPT, "empathy_score", 0.99),
    part(SCORE, TRANSCRIPT, "clarity_score", 10.01),
    part(SCORE, FEEDBACK, "satisfaction_score", 0.99),
    part(SCORE, TRANSCRIPT, "overall_sentiment", -1.01),
    part(SCORE, TRANSCRIPT, "student_sentiment", NAN),
    part(SCORE, TRANSCRIPT, "tutor_sentiment", 1.01),
    incoming(overall_session_score=10),
    other("connection_quality_unknown_value", connection_quality="bad"),
    other("scheduled_duration_out_of_range", scheduled_duration=-1),
    other("subject_id_out_of_range", subject_id="y" * 256),
]  # fmt: skip


def _seed_incoming(bench: Bench) -> Expected:
    """Add INCOMING to the platform."""
    bench.execute(
        "alter table {platform}.sessions drop constraint sessions_pkey, alter id drop not null,"
        " alter tutor_id drop not null, alter scheduled_start drop not null,"
        " alter status drop not null"
    )
    expected: Expected = {}
    with bench.warehouse.connect() as database:
        for number, each in enumerate(INCOMING):
            row = {
                "id": f"x{number:02d}",
                "tutor_id": "t101",
                "student_id": "p101",
                "scheduled_start": AS_OF - timedelta(days=2),
                "actual_duration": 60,
                "status": "completed",
                "tutor_showed_up": True,
                **each.session,
            }
            parts = {table: {"session_id": row["id"], **of} for table, of in each.parts.items()}
            for table, values in {"sessions": row, **parts}.items():
                database.execute(
                    f"insert into {{platform}}.{table} ({', '.join(values)})"
                    f" values ({', '.join(['%s'] * len(values))})",
                    list(values.values()),
                )
            for check in each.trips:
                expected.setdefault(check, []).append((row["id"], each.shows))
    return expected


# Rows behind the gate ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Changed:
    """A row of a built table with other values. `trips` are the checks that must list it, `shows`
    what of it they must show.
    """

    table: str
    values: Mapping[str, Any]
    trips: frozenset[str]
    shows: Mapping[str, Any]
    where: str = "true"


def changed(
    table: str,
    *trips: str,
    where: str = "true",
    shows: Mapping[str, Any] | None = None,
    **values: Any,
) -> Changed:
    return Changed(table, values, frozenset(trips), shows or values, where)


def session(*trips: str, where: str = "status = 'completed'", **values: Any) -> Changed:
    return changed("marts/fct_sessions", *trips, where=where, **values)


def in_range(check: str, column: str, low: float, high: float) -> list[Changed]:
    """Both sides of both bounds; NULL passes, what is no number does not."""
    outside = [low - 0.01, high + 0.01, NAN, INF, -INF]
    return [
        *(session(check, **{column: value}) for value in outside),
        *(session(**{column: value}) for value in (low, high, None)),
    ]


def wide(*trips: str, **values: Any) -> Changed:
    return changed("marts/tutor_aggregates", *trips, **values)


def risk(*trips: str, shows: Mapping[str, Any] | None = None, **values: Any) -> Changed:
    return changed("ops/current_tutor_risk", *trips, shows=shows, **values)


CANCELLED = "status = 'cancelled'"
GATE_TALK, USUAL = "tutor_talk_ratio_lies_in_0_to_1", "talk_ratio_is_usual"
GATE_RATED = "counted_rating_only_after_completion"
GATE_TUTOR = "counted_as_completed_only_with_tutor"
THREE, FIRST = "rating_of_7_days_rests_on_enough_ratings", "poor_first_session_flag_rests_on_one"
AVERAGE_RATINGS = [f"avg_rating_{window}" for window in ("7d", "30d", "90d", "all")]
AVERAGE_SCORES = [
    "overall_score", "avg_session_score_7d", "avg_session_score_14d", "avg_session_score_30d",
    "avg_engagement_30d", "avg_clarity_30d", "avg_empathy_30d",
]  # fmt: skip
RATES = [
    "completion_rate_30d", "no_show_rate_30d", "late_rate_30d", "reschedule_rate_7d",
    "reschedule_rate_30d", "reschedule_rate_90d", "technical_issue_rate_30d", "rebook_rate_90d",
    "high_talk_share",
]  # fmt: skip
FALLING = '[{"code": "few_sessions", "contribution": 0.3}, {"code": "rating_trend_down", %s}]'

GATE = [
    session("counted_status_is_known", where=CANCELLED, status="Completed"),
    session("counted_status_is_known", where=CANCELLED, status=""),
    session("counted_session_has_a_status", where=CANCELLED, status=None),
    session(GATE_RATED, status="no_show_student"),
    session(GATE_RATED, where=CANCELLED, student_satisfaction_rating=4),
    session(GATE_RATED, where=CANCELLED, satisfaction_score=8),
    session(GATE_TUTOR, tutor_showed_up=False),
    session(tutor_showed_up=None),
    session(where=CANCELLED, tutor_showed_up=False),
    *in_range("counted_rating_lies_in_1_to_5", "student_satisfaction_rating", 1, 5),
    *(session(GATE_TALK, USUAL, tutor_talk_ratio=value) for value in (-0.01, 1.01, NAN, INF)),
    *(session(USUAL, tutor_talk_ratio=value) for value in (0, 0.19, 0.81, 1)),
    *(session(tutor_talk_ratio=value) for value in (0.2, 0.8, None)),
    *in_range("student_talk_ratio_lies_in_0_to_1", "student_talk_ratio", 0, 1),
    *in_range("session_score_lies_in_0_to_10", "session_score", 0, 10),
    *in_range("engagement_lies_in_0_to_10", "student_engagement_score", 0, 10),
    *in_range("empathy_lies_in_0_to_10", "empathy_score", 0, 10),
    *in_range("clarity_lies_in_0_to_10", "clarity_score", 0, 10),
    *in_range("satisfaction_lies_in_0_to_10", "student_satisfaction", 0, 10),
    *in_range("attention_lies_in_0_to_1", "student_on_screen_attention_pct", 0, 1),
    *in_range("camera_lies_in_0_to_1", "tutor_camera_on_pct", 0, 1),
    *(session("duration_is_usual", actual_duration_minutes=value) for value in (0, 4, 301)),
    *(session(actual_duration_minutes=value) for value in (5, 300, None)),
    session(where=CANCELLED, actual_duration_minutes=1),
    session("completed_session_lies_in_the_past", scheduled_start=AS_OF + INSTANT),
    session(scheduled_start=AS_OF),
    session(where=CANCELLED, scheduled_start=AS_OF + timedelta(days=1)),
    wide(THREE, avg_rating_7d=4.5, avg_rating_7d_n=2),
    wide(THREE, avg_rating_7d=4.5, avg_rating_7d_n=None),
    wide(avg_rating_7d=4.5, avg_rating_7d_n=3),
    wide(avg_rating_7d=None, avg_rating_7d_n=2),
    wide(FIRST, poor_first_session_flag=True, first_session_count_90d=0),
    wide(FIRST, poor_first_session_flag=True, first_session_count_90d=None),
    wide(poor_first_session_flag=True, first_session_count_90d=1),
    wide(poor_first_session_flag=False, first_session_count_90d=0),
    *(
        wide("average_rating_lies_in_1_to_5", **{column: value})
        for column, value in zip(AVERAGE_RATINGS, (0.99, 5.01, NAN, 0), strict=True)
    ),
    *(
        wide("average_score_lies_in_0_to_10", **{column: value})
        for column, value in zip(
            AVERAGE_SCORES, (-0.01, 10.01, NAN, INF, -0.01, 11, 10.01), strict=True
        )
    ),
    *(
        wide("rate_lies_in_0_to_1", **{column: value})
        for column, value in zip(
            RATES, (-0.01, 1.01, NAN, INF, 2, -0.01, 1.01, 15, 1.01), strict=True
        )
    ),
    wide(**dict.fromkeys(AVERAGE_RATINGS, 1), **dict.fromkeys([*AVERAGE_SCORES[:-1], *RATES], 0)),
    wide(**dict.fromkeys(AVERAGE_RATINGS, 5), **dict.fromkeys(AVERAGE_SCORES[:-1], 10)),
    wide(**dict.fromkeys(RATES, 1)),
    wide(**dict.fromkeys([*AVERAGE_RATINGS, *AVERAGE_SCORES, *RATES], None)),
    risk("signals_score_lies_in_0_to_085", score=0.851),
    risk("signals_score_lies_in_0_to_085", score=-0.001, scorer="signals v2"),
    *(risk(score=value) for value in (0, 0.85, None)),
    risk(score=0.99, scorer="model"),
    risk(
        "falling_rating_never_lowers_a_score",
        shows={"contribution": "-0.01"},
        reasons=FALLING % '"contribution": -0.01',
    ),
    risk(reasons=FALLING % '"contribution": 0.5'),
    risk(reasons="[]"),
]  # fmt: skip

KEYS = {
    "marts/fct_sessions": "session_id",
    "marts/tutor_aggregates": "tutor_id",
    "ops/current_tutor_risk": "tutor_id",
}


def _change(bench: Bench, rows: Iterable[Changed]) -> Expected:
    """Change a row for each of them."""
    expected: Expected = {}
    taken: set[tuple[str, str]] = set()
    with bench.warehouse.connect() as database:
        for row in rows:
            schema, table = row.table.split("/")
            key = KEYS[row.table]
            keys = database.execute(
                f"select {key} from {{{schema}}}.{table} where {row.where} order by 1 desc"
            )
            free = next(each for (each,) in keys if (row.table, each) not in taken)
            taken.add((row.table, free))
            database.execute(
                f"update {{{schema}}}.{table}"
                f" set {', '.join(f'{name} = %s' for name in row.values)} where {key} = %s",
                [*row.values.values(), free],
            )
            for check in row.trips:
                expected.setdefault(check, []).append((free, row.shows))
    return expected


# What is in two places, or in none: (what was done, checks that must list the session).
AN_ENTRY = (
    "insert into {{ops}}.quarantine (source, row_key, business_key, payload, reasons, first_seen,"
    " last_seen) values ('{source}', '{key}', '{key}', '{{{{}}}}', '{{{{status_missing}}}}', now(),"
    " now());"
)
A_LABEL = (
    "update {{staging}}.session_rows set quarantine_reasons = '{{{{status_missing}}}}',"
    " row_key = '{key}' where session_id = '{key}';"
)
NOT_COUNTED = "delete from {{marts}}.fct_sessions where session_id = '{key}';"
PLACES = [
    (NOT_COUNTED, {"every_row_is_in_one_place"}),
    (A_LABEL + NOT_COUNTED, {"every_row_is_in_one_place", "status_is_known"}),
    (
        A_LABEL + AN_ENTRY.replace("{source}", "platform.sessions"),
        {"every_row_is_in_one_place", "status_is_known", "nothing_waits"},
    ),
    (
        AN_ENTRY.replace("{source}", "platform.sessions").replace("{key}", "gone"),
        {"every_row_is_in_one_place", "nothing_waits"},
    ),
    (AN_ENTRY.replace("{source}", "sessions.csv").replace("{key}", "file"), {"nothing_waits"}),
    (
        A_LABEL + AN_ENTRY.replace("{source}", "platform.sessions") + NOT_COUNTED,
        {"status_is_known", "nothing_waits"},
    ),
]  # fmt: skip


def _misplace(bench: Bench) -> Expected:
    expected: Expected = {}
    for number, (done, trips) in enumerate(PLACES, start=101):
        key = f"s{number:04d}"
        bench.execute(done.replace("{key}", key).replace("{{", "{").replace("}}", "}"))
        name = next((each for each in ("gone", "file") if f"'{each}'" in done), key)
        for check in trips:
            expected.setdefault(check, []).append((name, {}))
    return expected


# Whole tables ------------------------------------------------------------------------------------

NO_ROWS = "truncate {{{}}}.{}"


def newest(age: str) -> str:
    """No session that is over began later than this long ago."""
    moment = f"timestamptz '2026-03-18 15:30+00' - interval '{age}'"
    return (
        f"update {{marts}}.fct_sessions set scheduled_start = {moment}"
        f" where scheduled_start between {moment} and timestamptz '2026-03-18 15:30+00'"
    )


def yesterday(sessions: int) -> str:
    """So many were yesterday instead of 40; the others were, or came from, shortly before."""
    day, others = "date '2026-03-17'", "date '2026-03-16', date '2026-03-15'"
    move, to = (f"in ({others})", day) if sessions > 40 else (f"= {day}", "date '2026-03-16'")
    return (
        f"update {{marts}}.fct_sessions set session_on = {to} where session_id in ("
        f"select session_id from {{marts}}.fct_sessions where session_on {move}"
        f" order by session_id limit {abs(sessions - 40)});"
    )


def history(days: int) -> str:
    return (
        f"update {{marts}}.fct_sessions set session_on = date '2026-03-18' - {days}"
        f" where session_on < date '2026-03-18' - {days};"
    )


def set_aside(rows: int) -> str:
    """So many of the 2,400 wait, as they should: labelled, recorded, and not counted."""
    return (
        "with labelled as (update {staging}.session_rows"
        " set quarantine_reasons = '{{status_missing}}', row_key = session_id where session_id in"
        f" (select session_id from {{staging}}.session_rows order by 1 desc limit {rows})"
        " returning session_id),"
        " gone as (delete from {marts}.fct_sessions"
        " where session_id in (select session_id from labelled))"
        " insert into {ops}.quarantine (source, row_key, payload, reasons, first_seen, last_seen)"
        " select 'platform.sessions', session_id, '{{}}', '{{status_missing}}', now(), now()"
        " from labelled"
    )


FALLING_EMPATHY = "update {marts}.dim_tutors set months_experience = 100 - months_experience"
CONSTANT = "update {marts}.dim_tutors set months_experience = 12;"
KNOWN = "update {{marts}}.dim_tutors set months_experience = null where tutor_id > 't1{}';"
AGES = ("newest_session_is_under_24_hours_old", "newest_session_is_under_72_hours_old")
VOLUME, CORRELATION = "as_many_sessions_as_usual", "experience_goes_with_empathy"
# As when a session moved and its former tutor was not refreshed.
TWO_TUTORS = (
    "insert into {marts}.fct_sessions"
    " select (jsonb_populate_record(moved, jsonb_build_object('tutor_id', 't102'))).*"
    " from {marts}.fct_sessions as moved where tutor_id <> 't102' order by session_id limit 1"
)
# (what was done, checks that must fail, what one of them observed)
WHOLE: list[tuple[str, set[str], str | None]] = [
    (NO_ROWS.format("staging", "session_rows"),
     {"there_are_incoming_sessions", "every_row_is_in_one_place"}, "0"),
    (NO_ROWS.format("marts", "fct_sessions"),
     {"there_are_sessions", "every_row_is_in_one_place", *AGES}, "0"),
    (NO_ROWS.format("marts", "tutor_aggregates"), {"there_are_wide_rows"}, "0"),
    (NO_ROWS.format("marts", "dim_tutors"), {"there_are_tutors"}, "0"),
    (TWO_TUTORS, {"session_belongs_to_one_tutor", "every_row_is_in_one_place"}, None),
    (newest("24:00:00"), {AGES[0]}, "24"),
    (newest("72:00:00"), set(AGES), "72"),
    (yesterday(19), {VOLUME}, "47.5"),
    (yesterday(81), {VOLUME}, "202"),
    (yesterday(0) + history(29), {VOLUME}, "0"),
    (CONSTANT, {CORRELATION}, None),
    (CONSTANT + KNOWN.format(30), {CORRELATION}, None),
    (FALLING_EMPATHY, {CORRELATION}, "-1"),
    (set_aside(49), {"status_is_known", "nothing_waits", "at_most_2_percent_wait"}, "2.04"),
]  # fmt: skip
# (what was done, the check that just passes, what it observed)
EDGES = [
    (newest("23:59:59.999999"), AGES[0], "24"),
    (newest("71:59:59.999999"), AGES[1], "72"),
    (yesterday(20), VOLUME, "50"),
    (yesterday(80), VOLUME, "200"),
    (yesterday(0) + history(28), VOLUME, "not judged"),
    (CONSTANT + KNOWN.format(29), CORRELATION, "not judged"),
    (set_aside(48), "at_most_2_percent_wait", "2"),
    (set_aside(48), "every_row_is_in_one_place", None),
]


# The tests ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """Outcomes, the rows that each query lists, and which rows it should list."""

    outcomes: Mapping[str, Outcome]
    listed: Mapping[str, list[dict[str, Any]]]
    expected: Expected


def _look(bench: Bench, expected: Expected) -> Seen:
    outcomes = bench.evaluate()
    listed = {}
    with bench.warehouse.connect(row_factory=psycopg.rows.dict_row) as database:
        for name, outcome in outcomes.items():
            if outcome.rows_failing:
                assert outcome.query is not None
                listed[name] = database.execute(outcome.query).fetchall()
    return Seen(outcomes, listed, expected)


@pytest.fixture(scope="module")
def came_in(
    platform_warehouse: Warehouse, dbt_home: Path, suites: Sequence[Suite]
) -> tuple[Bench, Seen]:
    """INCOMING among sound rows, and what the checks said."""
    bench = Bench(platform_warehouse, dbt_home, suites)
    bench.execute(SOUND)
    bench.execute(RISK)
    expected = _seed_incoming(bench)
    bench.build()
    waiting = [
        (row["row_key"], {})
        for row in bench.rows("select row_key from {ops}.quarantine where resolved_at is null")
    ]
    return bench, _look(bench, {**expected, "nothing_waits": waiting})


@pytest.fixture(scope="module")
def mended(came_in: tuple[Bench, Seen]) -> tuple[Bench, dict[str, Outcome]]:
    """The platform after everything was corrected, and what the checks said then."""
    bench, _ = came_in
    tables = ("users", "tutors", "sessions", AUDIO, VIDEO, SCREEN, TRANSCRIPT, FEEDBACK)
    bench.execute(f"truncate {', '.join(f'{{platform}}.{table}' for table in tables)}")
    bench.execute(SOUND)
    bench.build()
    bench.keep()
    return bench, bench.evaluate()


@pytest.fixture(scope="module")
def behind_the_gate(mended: tuple[Bench, dict[str, Outcome]]) -> Seen:
    """GATE and PLACES among sound rows, and what the checks said."""
    bench, _ = mended
    expected = _change(bench, GATE)
    for check, rows in _misplace(bench).items():
        expected.setdefault(check, []).extend(rows)
    seen = _look(bench, expected)
    bench.restore()
    return seen


def _trips(rows: Iterable[Incoming | Changed]) -> set[str]:
    return {check for row in rows for check in row.trips}


LISTED_INCOMING = _trips(INCOMING) | {"nothing_waits"}
LISTED_BEHIND = _trips(GATE) | {check for _, trips in PLACES for check in trips}


def test_every_check_has_a_seeded_fault() -> None:
    of_tables = {check for _, trips, _ in WHOLE for check in trips}
    assert LISTED_INCOMING | LISTED_BEHIND | of_tables == set(CHECKS)


@pytest.mark.parametrize("check", sorted(LISTED_INCOMING))
def test_a_bad_row_that_comes_in_trips_its_check_alone(
    came_in: tuple[Bench, Seen], check: str
) -> None:
    _assert_lists(came_in[1], check)


def test_bad_rows_that_come_in_trip_no_other_check(came_in: tuple[Bench, Seen]) -> None:
    assert failing(came_in[1].outcomes) == LISTED_INCOMING
    assert not [each.check for each in came_in[1].outcomes.values() if each.stops]


@pytest.mark.parametrize("check", sorted(LISTED_BEHIND))
def test_a_bad_row_behind_the_gate_trips_its_check_alone(behind_the_gate: Seen, check: str) -> None:
    _assert_lists(behind_the_gate, check)


def test_bad_rows_behind_the_gate_trip_no_other_check(behind_the_gate: Seen) -> None:
    assert failing(behind_the_gate.outcomes) == LISTED_BEHIND


def _assert_lists(seen: Seen, check: str) -> None:
    """Exactly the rows that are meant for it, counted, and sampled with what is wrong."""
    outcome, expected = seen.outcomes[check], seen.expected[check]
    assert outcome.status is Status.FAILED
    listed = [_identity(row) for row in seen.listed[check]]
    assert sorted(listed, key=str) == sorted((key for key, _ in expected), key=str)
    assert outcome.rows_failing == len(expected)
    assert outcome.rows_checked and outcome.rows_checked >= len(expected)
    assert len(outcome.sample) == min(len(expected), MAX_SAMPLE)
    shown = dict(expected)
    for row in outcome.sample:
        assert not PERSONAL & row.keys()
        assert "secret" not in str(row).lower()
        wrong = plain(shown[_identity(row)])
        assert not wrong or any(row.get(name, "") == value for name, value in wrong.items()), row


def _identity(row: Mapping[str, Any]) -> str | None:
    key = next(key for key in ("session_id", "row_key", "tutor_id") if key in row)
    value: str | None = row[key]
    return value


def test_once_corrected_every_check_passes(mended: tuple[Bench, dict[str, Outcome]]) -> None:
    bench, outcomes = mended
    assert failing(outcomes) == set()
    assert set(outcomes) == set(CHECKS)
    (entries,) = bench.rows(
        "select count(*) as known, count(resolved_at) as resolved from {ops}.quarantine"
    )
    assert entries["known"] == entries["resolved"] > 30
    assert outcomes["as_many_sessions_as_usual"].observed == "100"
    assert outcomes["newest_session_is_under_24_hours_old"].observed == "5.5"


@pytest.mark.parametrize(
    ("done", "trips", "observed"), WHOLE, ids=[f"{min(trips)}-{seen}" for _, trips, seen in WHOLE]
)
def test_a_fault_of_a_whole_table(
    mended: tuple[Bench, dict[str, Outcome]], done: str, trips: set[str], observed: str | None
) -> None:
    bench, _ = mended
    tables = tables_in(done)
    bench.execute(done)
    try:
        outcomes = bench.evaluate(tables)
    finally:
        bench.restore(tables)
    assert failing(outcomes) == trips
    assert observed is None or observed in {outcomes[check].observed for check in trips}


@pytest.mark.parametrize(
    ("done", "check", "observed"), EDGES, ids=[f"{check}-{seen}" for _, check, seen in EDGES]
)
def test_the_edge_of_what_is_fine(
    mended: tuple[Bench, dict[str, Outcome]], done: str, check: str, observed: str | None
) -> None:
    bench, _ = mended
    (suite,) = [suite for suite in bench.suites if suite.name == CHECKS[check]]
    bench.execute(done)
    try:
        (outcome,) = run_suite(suite, bench.warehouse, AS_OF, {check})
    finally:
        bench.restore(tables_in(done))
    assert (outcome.status, outcome.observed) == (Status.PASSED, observed)


def test_a_session_of_two_tutors_is_listed_under_both(
    mended: tuple[Bench, dict[str, Outcome]],
) -> None:
    bench, _ = mended
    bench.execute(TWO_TUTORS)
    outcome = bench.evaluate(["marts/fct_sessions"])["session_belongs_to_one_tutor"]
    bench.restore(["marts/fct_sessions"])
    assert (outcome.rows_failing, len(outcome.sample), outcome.stops) == (2, 2, True)
    assert len({row["session_id"] for row in outcome.sample}) == 1
    assert len({row["tutor_id"] for row in outcome.sample}) == 2


def test_a_correlation_that_does_not_exist_was_observed_as_none(
    mended: tuple[Bench, dict[str, Outcome]],
) -> None:
    bench, _ = mended
    bench.execute(CONSTANT)
    outcome = bench.evaluate(["marts/dim_tutors"])[CORRELATION]
    bench.restore(["marts/dim_tutors"])
    assert (outcome.status, outcome.observed) == (Status.FAILED, None)
    assert bench.evaluate(["marts/dim_tutors"])[CORRELATION].passed


@pytest.mark.long
@pytest.mark.parametrize("check", sorted(_trips(GATE)))
def test_a_fault_quite_alone(mended: tuple[Bench, dict[str, Outcome]], check: str) -> None:
    """One bad row, all suites: exactly its checks fail, and pass again once it is mended."""
    bench, _ = mended
    row = min((row for row in GATE if check in row.trips), key=lambda row: len(row.trips))
    _change(bench, [row])
    try:
        assert failing(bench.evaluate()) == set(row.trips)
    finally:
        bench.restore([row.table])
    assert failing(bench.evaluate([row.table])) == set()


def test_keys_are_columns(mended: tuple[Bench, dict[str, Outcome]]) -> None:
    bench, _ = mended
    for suite in bench.suites:
        schema, table = suite.asset.split("/")
        columns = bench.rows(
            "select column_name from information_schema.columns where table_schema ="
            f" '{getattr(bench.warehouse.schemas, schema)}' and table_name = '{table}'"
        )
        assert set(suite.keys) <= {row["column_name"] for row in columns}, suite.name


def test_every_reason_belongs_to_one_check(
    mended: tuple[Bench, dict[str, Outcome]], manifest: dict[str, Any]
) -> None:
    """Whatever the statement that labels rows can say, one check shows; and checks name no reason
    that it cannot say.
    """
    bench, _ = mended
    (node,) = [each for each in manifest["nodes"].values() if each["name"] == "session_rows"]
    compiled = dbt.compiled_sql(bench.home, node)
    assert compiled is not None
    reasons = set(re.findall(r"then '(\w+)' end", compiled))
    assert len(reasons) > 50
    (incoming,) = [suite for suite in bench.suites if suite.asset == "staging/session_rows"]
    queries = {check.name: check.kwargs[QUERY] for check in incoming.checks if check.is_query}
    named = set(re.findall(r"'(\w+)'", " ".join(queries.values())))
    assert named <= reasons
    bench.execute("truncate {staging}.session_rows")
    for reason in sorted({*reasons, "a_reason_of_tomorrow"}):
        bench.execute(
            "insert into {staging}.session_rows (session_id, quarantine_reasons)"
            " values (%s, array[%s])",
            (reason, reason),
        )
    found = {
        name: {row["session_id"] for row in bench.rows(query)} for name, query in queries.items()
    }
    bench.restore(["staging/session_rows"])
    for reason in {*reasons, "a_reason_of_tomorrow"}:
        assert sum(reason in each for each in found.values()) == 1, reason
    assert "a_reason_of_tomorrow" in found[OTHER]
    assert all(found.values())


def test_dbts_own_tests_are_outcomes_too(
    mended: tuple[Bench, dict[str, Outcome]], manifest: dict[str, Any]
) -> None:
    """One that fails and blocks, one that fails and only warns, one that has no answer."""
    bench, _ = mended
    bench.execute(
        "update {marts}.fct_sessions set session_id = null"
        " where session_id in (select session_id from {marts}.fct_sessions order by 1 limit 2);"
        " create table {marts}.dim_students as select null::text as student_id;"
        " alter table {intermediate}.int_tutor_days rename session_on to was_session_on"
    )
    names = ("session_has_its_id", "student_has_an_id", "tutor_day_has_a_date", "one_row_per_tutor")
    events: list[dict[str, Any]] = []
    try:
        with pytest.raises(TutorPipelineError):
            dbt.invoke(
                ["test", "--select", *names],
                dbt.dbt_environment(bench.warehouse, None, bench.home),
                on_event=events.append,
            )
        nodes = [manifest["nodes"][event["data"]["node_info"]["unique_id"]] for event in events]
        outcomes = {
            node["name"]: outcome_of(
                bench.warehouse, bench.home, node, event, Check("marts/a_table", node["name"])
            )
            for node, event in zip(nodes, events, strict=True)
        }
    finally:
        bench.execute(
            "alter table {intermediate}.int_tutor_days rename was_session_on to session_on;"
            " drop table {marts}.dim_students cascade"
        )
        bench.restore(["marts/fct_sessions"])
    assert {
        name: (str(each.status), each.severity, each.stops, each.rows_failing, len(each.sample))
        for name, each in outcomes.items()
    } == {
        "session_has_its_id": ("failed", "error", True, 2, 2),
        "student_has_an_id": ("failed", "warn", False, 1, 1),
        "tutor_day_has_a_date": ("errored", "error", True, None, 0),
        "one_row_per_tutor": ("passed", "error", False, 0, 0),
    }
    assert outcomes["session_has_its_id"].says == "Every session that counts has an id."
    assert "dbt.log" in str(outcomes["tutor_day_has_a_date"].message)
