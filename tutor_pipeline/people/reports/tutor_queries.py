"""Queries on tutors: one tutor with everything known, and lists of tutors. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from difflib import get_close_matches

from psycopg.sql import Identifier

from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.people.reports.alert_queries import alerts
from tutor_pipeline.people.reports.status_queries import exists


def tutor(database: Database, tutor_id: str) -> Row:
    """Returns one tutor's profile, metrics, scores, alerts, insights and badges. `tutor_id`: the
    id, or the whole name.

    Raises UsageError that names similar tutors, or those of that name.
    """
    marts, ops = database.schemas.marts, database.schemas.ops
    profile = find(database, tutor_id)
    tutor_id = profile["tutor_id"]
    return {
        "tutor_id": tutor_id,
        "profile": profile,
        "metrics": _row_of(database, Identifier(marts, "tutor_aggregates"), tutor_id),
        "risk": _row_of(database, Identifier(ops, "current_tutor_risk"), tutor_id),
        "scores": scores(database, tutor_id),
        "health": _row_of(database, Identifier(ops, "tutor_health"), tutor_id),
        "alerts": alerts(database, tutor=tutor_id, include_resolved=True),
        "insights": database.rows(
            "select * from {ops}.tutor_insights where tutor_id = %(tutor)s and is_active"
            " order by insight_type desc, category",
            {"tutor": tutor_id},
        ),
        "achievements": database.rows(
            "select * from {ops}.achievements where tutor_id = %(tutor)s"
            " order by is_active desc, earned_date, achievement_type",
            {"tutor": tutor_id},
        ),
    }


def find(database: Database, name: str) -> Row:
    """Returns the row of `dim_tutors` of an id, or of a whole name that one tutor has.

    Raises UsageError that names similar tutors, or those of that name; TutorPipelineError before
    the first refresh.
    """
    found = _named(database, name) if exists(database, database.schemas.marts, "dim_tutors") else []
    if len(found) > 1 and name not in {row["tutor_id"] for row in found}:
        ids = ", ".join(row["tutor_id"] for row in found)
        raise UsageError(
            f"{count(len(found), 'tutor')} are called {name!r}: {ids}. Name one by the id."
        )
    return profile_of(database, found[0]["tutor_id"] if len(found) == 1 else name)


def profile_of(database: Database, tutor_id: str) -> Row:
    """Returns the tutor's row of `dim_tutors`.

    Raises UsageError that names similar tutors when the id is unknown, TutorPipelineError before
    the first refresh.
    """
    if not exists(database, database.schemas.marts, "dim_tutors"):
        raise TutorPipelineError("no tutor is known yet. Run: tutor-pipeline enrich")
    found = database.one(
        "select * from {marts}.dim_tutors where tutor_id = %(tutor)s", {"tutor": tutor_id}
    )
    if found is None:
        rows = database.rows("select * from {marts}.dim_tutors order by tutor_id")
        ids = [row["tutor_id"] for row in rows]
        near = [each for each in ids if each.startswith(tutor_id)]
        near += [
            f"{row['tutor_id']} {row['name']}"
            for row in rows
            if tutor_id.strip() and tutor_id.strip().casefold() in (row["name"] or "").casefold()
        ]
        near = near[:3] or get_close_matches(tutor_id, ids)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"no tutor {tutor_id!r} among {len(ids):,}.{hint}")
    return found


def _named(database: Database, name: str) -> list[Row]:
    """The tutors of an id or a name, whatever its case and blanks."""
    return database.rows(
        "select tutor_id from {marts}.dim_tutors where tutor_id = %(name)s or"
        " lower(regexp_replace(btrim(name), '\\s+', ' ', 'g')) = lower(%(words)s)"
        " order by tutor_id",
        {"name": name, "words": " ".join(name.split()) or None},
    )


def scores(database: Database, tutor_id: str) -> list[Row]:
    """Returns the tutor's scores of the newest as-of, one per scorer, scores with a level first."""
    return database.rows(
        """
        select
            scorer, version, target, horizon_days, as_of, score, is_probability, level,
            reasons, status, lower, upper, base_rate, known_share, not_known
        from {ops}.tutor_scores
        where
            tutor_id = %(tutor)s
            and as_of = (
                select max(as_of) from {ops}.tutor_scores where tutor_id = %(tutor)s
            )
        order by level is null, target, horizon_days, scorer
        """,
        {"tutor": tutor_id},
    )


def tutors_to_refresh(
    database: Database, named: Sequence[str] | None, since: date | None
) -> list[str]:
    """Returns the named tutors, None = all known, of these only those with a session since a day.

    Raises UsageError for a named tutor who is unknown, TutorPipelineError before the first
    refresh.
    """
    if not exists(database, database.schemas.marts, "fct_sessions"):
        raise TutorPipelineError("nothing is built yet. Run first: tutor-pipeline enrich")
    known = database.rows(
        """
        select tutors.tutor_id, max(sessions.session_on) as last_session_on
        from {marts}.dim_tutors as tutors
        left join {marts}.fct_sessions as sessions
            on tutors.tutor_id = sessions.tutor_id
                and sessions.scheduled_start <= now()
                and sessions.status not in ('scheduled', 'in_progress')
        group by tutors.tutor_id
        order by tutors.tutor_id
        """
    )
    last = {row["tutor_id"]: row["last_session_on"] for row in known}
    for tutor_id in named or ():
        if tutor_id not in last:
            raise UsageError(
                f"no tutor {tutor_id!r} among {len(last):,}."
                " A tutor new on the platform appears with the next: tutor-pipeline enrich"
            )
    return [
        tutor_id
        for tutor_id in dict.fromkeys(named or last)
        if since is None or (last[tutor_id] is not None and last[tutor_id] >= since)
    ]


def findings_by_tutor(database: Database, tutors: Sequence[str]) -> list[Row]:
    """Returns per tutor the name and the counts of open alerts, insights and badges."""
    return database.rows(statement(__file__, "findings_by_tutor"), {"tutors": list(tutors)})


def _row_of(database: Database, table: Identifier, tutor_id: str) -> Row | None:
    """Returns the tutor's row of a table that has one row per tutor; None without one."""
    return database.one(
        database.sql("select * from {table} where tutor_id = %(tutor)s", table=table),
        {"tutor": tutor_id},
    )
