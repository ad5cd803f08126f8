"""Stand-ins for the project's macros, so that sqlfluff can lint the models without a database.

Each gives SQL of the shape that the macro gives. dbt itself never reads this folder.
"""

from types import SimpleNamespace

model = SimpleNamespace(columns={"session_id": {}, "tutor_id": {}, "row_key": {}, "payload": {}})


def refresh() -> dict[str, str | None]:
    """The header of a full refresh."""
    moment = "timestamptz '2026-01-01 00:00:00+00'"
    return {"as_of": moment, "as_of_on": "date '2026-01-01'", "snapshot_from": None}


def var(_name: str) -> int:
    """A threshold."""
    return 1


def is_scoped() -> bool:
    """A refresh of some tutors: the longer SQL."""
    return True


def in_scope(column: str = "tutor_id") -> str:
    """Some tutors only."""
    return f"{column} = any('{{}}'::text[])"


def scope_tutors() -> str:
    """An array of tutors."""
    return "'{}'::text[]"


def snapshots_lock() -> str:
    """The lock of who writes snapshots."""
    return "1"


def pipeline_timezone() -> str:
    """The zone in which a day is a day."""
    return "UTC"


def reschedules_are_known() -> bool:
    """A platform that records who moved a session."""
    return True


def platform_has(_table: str, _column: str) -> bool:
    """A platform with every column."""
    return True


def platform_is_unique(_table: str, _column: str) -> bool:
    """A platform without keys: the longer SQL."""
    return False


def platform_is_not_null(_table: str, _column: str) -> bool:
    """A platform without constraints: the longer SQL."""
    return False


def stage_platform(table: str) -> str:
    """A staged table."""
    return f"select id from {table}"


def staged(table: str) -> str:
    """A staged table as a subquery."""
    return f"(select * from stg_platform__{table})"


def within_contract(_table: str, column: str) -> str:
    """A profile value."""
    return column


def session_parts() -> list[dict[str, object]]:
    """Two tables that hold more about a session."""
    feedback = ["student_satisfaction_rating", "satisfaction_score"]
    return [
        {"name": "audio", "columns": ["tutor_talk_ratio"], "renamed": {}},
        {"name": "feedback", "columns": feedback, "renamed": {}},
    ]


def one_per_session(_part: object, _scoped: bool) -> str:
    """Its rows."""
    return "select * from audio_metrics"


def has_groups() -> bool:
    """Lessons of several students: the longer SQL."""
    return True


def listed_students(_condition: str) -> str:
    """The lines of lists."""
    return "select session_id, student_id, attended, is_first, rating from session_students"


def groups_of_sessions(_scoped: bool) -> str:
    """What lists of students say of sessions."""
    return "select session_id from session_students"


def student_sessions(is_whole: bool = False) -> str:
    """Sessions per student."""
    return f"(select * from fct_sessions where {str(is_whole).lower()})"


def has_excuses() -> bool:
    """A platform on which sessions were excused: the longer SQL."""
    return True


def excused_sessions(condition: str) -> str:
    """The kinds of which sessions are excused."""
    return f"(select tutor_id, session_id, kinds from session_excuses where {condition})"


def excuse_spans(scope: str) -> str:
    """The days during which excuses held."""
    return f"excuse_spans as (select tutor_id, session_id from session_excuses where {scope})"


def as_known_then(scope: str) -> str:
    """What past days counted otherwise."""
    return f"{excuse_spans(scope)}, then_and_now as (select tutor_id from excuse_spans)"


def sessions_as_known(spans: str) -> str:
    """Sessions as they were known then."""
    return f"select * from {spans}"


def sessions_to_measure(sessions: str) -> str:
    """The sessions that measures count."""
    return f"select * from {sessions} where status = 'completed'"


def measure_value(name: str, entry: dict[str, str]) -> str:
    """A measure."""
    return f"count(*) filter (where {entry['count']})" if "count" in entry else name


def of_sessions(condition: str) -> str:
    """A condition on rows that stand for a session."""
    return condition


def session_checks() -> list[dict[str, str]]:
    """One error that a row may have."""
    return [{"reason": "status_missing", "broken": "joined.status is null"}]


def given_columns() -> list[dict[str, str]]:
    """One column that staging converts."""
    return [{"table": "incoming", "name": "session_number", "shown": "session_number"}]


def max_id_length() -> int:
    """A length."""
    return 255


def is_usable_id(value: str) -> str:
    """A condition."""
    return f"{value} is not null"


def fallback_session_score(rows: str) -> str:
    """A score."""
    return f"{rows}.student_engagement_score"


def sum_and_count(name: str, value: str, condition: str) -> str:
    """The two columns of an average."""
    counted = f"count({value}) filter (where {condition})::integer as {name}_count"
    return f"{counted}, sum({value}) filter (where {condition})::bigint as {name}_sum"


def repair_snapshots() -> str:
    """A hook."""
    return ""


def snapshot_days() -> str:
    """An array of days."""
    return "'{}'::date[]"


def recorded_snapshot_days(_since: str) -> str:
    """An array of days."""
    return "'{}'::date[]"


def replaces_rows_only() -> bool:
    """A table that is there."""
    return True


def snapshot_rows(tutor_days: str, days: str, scope: str) -> str:
    """Snapshots."""
    return f"select tutor_id from {tutor_days} where session_on = any({days}) and {scope}"


def student_weeks() -> str:
    """The ends of weeks."""
    return "select 1 as one"


def newest_full_day(_history: str, _otherwise: str = "") -> str:
    """A day of the history."""
    return "date '2026-01-01'"


def our_table(schema: str, table: str) -> str:
    """A table of ours."""
    return f"{schema}.{table}"


def newest_student_week() -> str:
    """A Sunday."""
    return "date '2026-01-04'"


def platform_offers(_table: str, _columns: list[str]) -> bool:
    """A platform with every table."""
    return True


def quote_text(value: str) -> str:
    """A literal."""
    return f"'{value}'"


def text_of(name: str, _given: dict[str, object]) -> str:
    """The SQL of another model's file."""
    return f"select tutor_id, as_of from {name}"


def given(_name: str, otherwise: object) -> object:
    """What a text is about in its own file."""
    return otherwise


def known_count(event: str, days: str, unknown_events: object) -> str:
    """A count that may be unknown."""
    return f"{event}_{days}"


def weeks_back(day: str, newest: str) -> str:
    """Weeks between two days."""
    return f"(({newest} - {day}) / 7)"


def built(relation: str, _columns: str) -> str:
    """A table that is there."""
    return relation


def sessions_ahead(key: str, newest: str, _asked_weeks: int, _now: str | None, scope: str) -> str:
    """Sessions of the days ahead."""
    return f"select {key}, 0 as week, 1 as booked, {newest} as unclear from coming where {scope}"


def student_mean(name: str) -> str:
    """A mean."""
    return f"windows.{name}_sum / windows.{name}_count"


def window_rate(part: str, whole: str) -> str:
    """A share."""
    return f"{part}::double precision / nullif({whole}, 0)"


def tutor_metrics() -> dict[str, dict[str, dict[str, str]]]:
    """An entry of each kind."""
    return {
        "int_tutor_days": {
            "tutor_id": {},
            "session_on": {},
            "completed_count": {"count": "is_completed"},
            "score_count": {"known": "session_score", "where": "is_completed"},
            "score_sum": {"sum": "session_score", "where": "is_completed"},
            "last_completed_at": {"expr": "max(scheduled_start)"},
        },
        "tutor_aggregates": {"recent_session_ids": {"evidence": "is_completed"}},
    }


def windows_of_measures() -> dict[str, list[str]]:
    """A count and a sum."""
    return {"completed_count": ["30d"], "score_sum": ["30d"]}


def age_windows() -> dict[str, tuple[int, int | None]]:
    """A window."""
    return {"30d": (0, 30)}


def age_bands() -> list[int]:
    """Its edge."""
    return [30]


def window_sums(as_of: str, as_of_on: str, scope: str) -> str:
    """The sums over windows."""
    return f"windows as (select {as_of} as as_of, {as_of_on} as day from tutors where {scope})"


def tutor_details(has_evidence: bool) -> str:
    """What is not additive."""
    return f"select {has_evidence} as has_evidence from gathered"


def wide_row(has_reschedules: str, has_evidence: bool) -> str:
    """The columns of the wide row."""
    return (
        "derived as (select tutor_id from measured)"
        f" select tutor_id, {has_reschedules} as is_known, {has_evidence} as is_shown from derived"
    )


def tutor_series() -> dict[str, tuple[str, int]]:
    """An array of values."""
    return {"scores": ("session_score", 90)}


def tutor_spans() -> dict[str, tuple[str, str, str]]:
    """A count by spans of days."""
    return {"students": ("student_id is not null", "session_on", "session_on + 30")}


def followed_first_sessions(after: str, until: str, scope: str) -> str:
    """First sessions."""
    return (
        "select tutor_id, session_on, followed_during from firsts"
        f" where day between {after} and {until} and {scope}"
    )


def newest_first() -> str:
    """An order."""
    return "order by session_on desc"


def reschedules_are_known_on(day: str) -> str:
    """A platform that records who moved a session."""
    return f"{day} is not null"


def millionths(value: str) -> str:
    """A whole number."""
    return f"round({value} * 1000000)"
