"""Queries on tutors: one tutor with everything known, and lists of tutors. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from difflib import get_close_matches

from psycopg.sql import Identifier

from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.formatting import MAX_CANDIDATES, count, shortened
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.people.reports.alert_queries import alerts
from tutor_pipeline.people.reports.status_queries import exists


def tutor(database: Database, tutor_id: str) -> Row:
    """Returns one tutor's profile, metrics, scores, alerts, insights and badges. `tutor_id`: the
    id, its first characters, or the whole name.

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
    """Returns the row of `dim_tutors` of a whole name that one tutor has, or of an id as
    `profile_of` takes it.

    Raises UsageError that names similar tutors, or those of that name; TutorPipelineError before
    the first refresh.
    """
    found = _named(database, name) if exists(database, database.schemas.marts, "dim_tutors") else []
    if len(found) > 1 and name not in {row["tutor_id"] for row in found}:
        short = short_ids(database)
        ids = ", ".join(short[row["tutor_id"]] for row in found)
        raise UsageError(
            f"{count(len(found), 'tutor')} are called {name!r}: {ids}. Name one by the id."
        )
    return profile_of(database, found[0]["tutor_id"] if len(found) == 1 else name)


def profile_of(database: Database, tutor_id: str) -> Row:
    """Returns the row of `dim_tutors` of an id, or of the one id that begins like this.

    Raises UsageError that names similar tutors, or those whose ids begin like this;
    TutorPipelineError before the first refresh.
    """
    if not exists(database, database.schemas.marts, "dim_tutors"):
        raise TutorPipelineError("no tutor is known yet. Run: tutor-pipeline enrich")
    found = database.one(
        "select * from {marts}.dim_tutors where tutor_id = %(tutor)s", {"tutor": tutor_id}
    )
    if found is None:
        rows = database.rows("select * from {marts}.dim_tutors order by tutor_id")
        whole = id_of(tutor_id, {row["tutor_id"]: row["name"] for row in rows})
        found = next(row for row in rows if row["tutor_id"] == whole)
    return found


def id_of(given: str, names: Mapping[str, str | None]) -> str:
    """Returns the id that was given whole, or by a beginning that no other has. `names` has all
    tutors, with their names as far as known.

    Raises UsageError that names those whose ids begin like this, or similar ones.
    """
    if given in names:
        return given
    begun = [each for each in names if given and each.startswith(given)]
    if len(begun) == 1:
        return begun[0]
    short = shortened(names)
    if begun:
        raise UsageError(
            f"{count(len(begun), 'tutor')} have an id that begins with {given!r}:"
            f" {_listed(begun, short, names)}. Give more characters of the id."
        )
    words = given.strip().casefold()
    near = [each for each, name in names.items() if words and words in (name or "").casefold()]
    near = near or get_close_matches(given, list(names))
    hint = f" Did you mean {_listed(near, short, names)}?" if near else ""
    raise UsageError(
        f"no tutor {given!r} among {len(names):,}.{hint} Name one by the id or its first"
        " characters; a tutor new on the platform appears with the next: tutor-pipeline enrich"
    )


def _listed(ids: Sequence[str], short: Mapping[str, str], names: Mapping[str, str | None]) -> str:
    """Returns the first ids with their names, and how many more there are."""
    shown = [" ".join(filter(None, (short[each], names[each]))) for each in ids[:MAX_CANDIDATES]]
    more = len(ids) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def short_ids(database: Database) -> dict[str, str]:
    """Returns the ids of all tutors as people read them; also of those who only have alerts."""
    queries = ["select tutor_id from {ops}.alerts where tutor_id <> ''"]
    if exists(database, database.schemas.marts, "dim_tutors"):
        queries.append("select tutor_id from {marts}.dim_tutors")
    return shortened(row["tutor_id"] for row in database.rows(" union ".join(queries)))


def tutor_of_session(database: Database, session_id: str) -> str:
    """Returns whose session it is.

    Raises UsageError for one that is not there, or that two tutors have; TutorPipelineError before
    the first refresh.
    """
    if not exists(database, database.schemas.marts, "fct_sessions"):
        raise TutorPipelineError("no session is known yet. Run: tutor-pipeline enrich")
    rows = database.rows(
        "select tutor_id from {marts}.fct_sessions where session_id = %s order by tutor_id limit 9",
        (session_id,),
    )
    if len(rows) == 1:
        return str(rows[0]["tutor_id"])
    if not rows:
        raise UsageError(f"there is no session {session_id!r}: give its whole id")
    tutors = ", ".join(row["tutor_id"] for row in rows)
    raise UsageError(f"{count(len(rows), 'tutor')} have a session {session_id!r}: {tutors}")


def short_session_ids(database: Database, tutors: Sequence[str]) -> dict[str, dict[str, str]]:
    """Returns, by tutor, the ids of these tutors' sessions as people read them: each is told apart
    from the tutor's other sessions.
    """
    if not exists(database, database.schemas.marts, "fct_sessions"):
        return {}
    rows = database.rows(
        "select tutor_id, array_agg(session_id) as ids from {marts}.fct_sessions"
        " where tutor_id = any(%(tutors)s) group by tutor_id",
        {"tutors": list(tutors)},
    )
    return {row["tutor_id"]: shortened(row["ids"]) for row in rows}


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
        select
            tutors.tutor_id,
            tutors.name,
            max(sessions.session_on) as last_session_on
        from {marts}.dim_tutors as tutors
        left join {marts}.fct_sessions as sessions
            on tutors.tutor_id = sessions.tutor_id
                and sessions.scheduled_start <= now()
                and sessions.status not in ('scheduled', 'in_progress')
        group by tutors.tutor_id, tutors.name
        order by tutors.tutor_id
        """
    )
    names = {row["tutor_id"]: row["name"] for row in known}
    last = {row["tutor_id"]: row["last_session_on"] for row in known}
    wanted = [id_of(each, names) for each in named or last]
    return [
        tutor_id
        for tutor_id in dict.fromkeys(wanted)
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
