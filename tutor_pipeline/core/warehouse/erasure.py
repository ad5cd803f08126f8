"""Erases a person from our schemas: deletes rows, masks texts, and searches for what is left.

Belongs here: one rule for each table of ours (`RULES`), or why it needs none (`NOTHING_PERSONAL`).
Does not belong here: the platform's tables (`sources.personal_rows`), Dagster's tables
(`dagster_erasure`), files (`people.reports.file_erasure`), the locks of other writers, which the
caller holds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.personal_data import Person, Role
from tutor_pipeline.core.warehouse.statements import statement


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows about the person. They are deleted, or updated with the assignments `put`.

    %(id)s is the person's id, %(ids)s are the forms of it that a column may hold, %(sessions)s a
    tutor's sessions, %(lessons)s those of a student.
    """

    where: str
    put: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """How a person is erased from a table (schema.name, without prefix).

    `masked`: text or JSON columns of rows about other people that may name the person. `sampled`:
    those of them in which a session of the person may stand alone. `strict`: columns, of JSON or of
    texts that may be JSON, in which ids of other things stand. `forgets`: an assignment where
    something is masked.
    """

    table: str
    tutor: tuple[Rows, ...] = ()
    student: tuple[Rows, ...] = ()
    masked: tuple[str, ...] = ()
    sampled: tuple[str, ...] = ()
    strict: tuple[str, ...] = ()
    forgets: str | None = None

    def of(self, role: Role) -> tuple[Rows, ...]:
        """Returns the rows about a person of that role."""
        return self.tutor if role is Role.TUTOR else self.student


_TUTOR = (Rows("tutor_id = any(%(ids)s)"),)
_STUDENT = (Rows("student_id = any(%(ids)s)"),)
_ABOUT_STUDENT = "subject_kind = 'student' and subject_id = any(%(ids)s)"
# A session also belongs to the tutor: it stays with its measurements, without the student and the
# student's texts. If the platform deletes it, the next refresh follows.
_NO_LONGER_OF = "student_id = null"
_AND_WITHOUT_TEXTS = f"{_NO_LONGER_OF}, feedback_text = null, reschedule_reason = null"
# A malformed line of a file has no named fields: any field of it counts.
_IN_A_MALFORMED_LINE = (
    "payload ? 'raw' and regexp_split_to_array(payload ->> 'raw', '[,\"]') && %(ids)s::text[]"
)

# Where an event says it: of its session, whose student may have spoken in words.
_WORDS = (
    "type like 'session_transcript_highlights.%%' or body ~ '\"(feedback_text|reschedule_reason)\"'"
)
EVENTS_ABOUT: Mapping[Role, str] = {
    Role.TUTOR: "tutor_id = any(%(ids)s) or session_id = any(%(sessions)s)",
    Role.STUDENT: f"student_id = any(%(ids)s) or (session_id = any(%(lessons)s) and ({_WORDS}))",
}
"""Which events of the inbox are about a person of that role, as a condition."""
_OF_THEIR_SESSION = "source like 'events:%%' and payload ->> 'session_id' = any(%(sessions)s)"
# Where the key of a row of the platform has a student.
_STUDENT_AT = {
    "students": 0,
    "student_churn_reasons": 0,
    "student_progress": 0,
    "session_students": 1,
}
_OF_A_USER = "table_name = 'users' and row_key[1] = any(%(ids)s)"
_OF_A_STUDENT = " or ".join(
    f"table_name = '{table}' and row_key[{at + 1}] = any(%(ids)s)"
    for table, at in _STUDENT_AT.items()
)

# Who took part in lessons of several students, and where the words about a lesson stand.
_LISTS = "marts.fct_session_students"
_WITH_WORDS = {"staging.session_rows", "marts.fct_sessions"}

RULES = (
    Rule(
        "staging.session_rows",
        _TUTOR,
        (
            # A quarantined row holds the platform's payload, and no metric uses it.
            Rows("student_id = any(%(ids)s) and payload is not null"),
            Rows("student_id = any(%(ids)s)", _AND_WITHOUT_TEXTS),
        ),
    ),
    Rule("intermediate.int_tutor_days", _TUTOR),
    Rule("intermediate.int_tutor_logins", _TUTOR),
    Rule("marts.dim_tutors", _TUTOR),
    Rule("marts.dim_students", student=_STUDENT),
    Rule("marts.fct_sessions", _TUTOR, (Rows("student_id = any(%(ids)s)", _AND_WITHOUT_TEXTS),)),
    Rule("marts.fct_session_students", _TUTOR, _STUDENT),
    Rule("marts.recent_sessions", _TUTOR, (Rows("student_id = any(%(ids)s)", _NO_LONGER_OF),)),
    *(
        Rule(
            f"marts.{table}",
            (
                Rows(
                    "%(id)s = any(tutor_ids) or last_tutor_id = %(id)s",
                    "tutor_ids = array_remove(tutor_ids, %(id)s),"
                    " last_tutor_id = nullif(last_tutor_id, %(id)s)",
                ),
            ),
            _STUDENT,
        )
        for table in ("student_aggregates", "student_aggregates_history")
    ),
    *(
        Rule(f"marts.{table}", _TUTOR)
        for table in (
            "tutor_aggregates",
            "tutor_aggregates_history",
            "tutor_departures",
            "tutor_evidence",
            "tutor_evidence_history",
            "tutor_features",
            "tutor_features_history",
            "tutor_performance_snapshots",
            "tutor_scoreboard",
        )
    ),
    *(
        Rule(f"marts.{table}", student=_STUDENT)
        for table in ("student_evidence", "student_evidence_history")
    ),
    # Notes about a tutor may name a student.
    Rule(
        "ops.alert_events",
        _TUTOR,
        (
            Rows(
                "(tutor_id, alert_id) in (select tutor_id, alert_id from {ops}.alerts"
                f" where {_ABOUT_STUDENT})"
            ),
        ),
        masked=("details",),
    ),
    Rule(
        "ops.alerts",
        _TUTOR,
        (Rows(_ABOUT_STUDENT),),
        masked=("acknowledged_note", "action_taken", "owner"),
    ),
    Rule("ops.notes", _TUTOR, (Rows(_ABOUT_STUDENT),), masked=("text",)),
    Rule("ops.rule_overrides", _TUTOR, masked=("reason",)),
    Rule("ops.session_excuses", _TUTOR, masked=("reason",)),
    *(
        Rule(f"ops.{table}", _TUTOR)
        for table in (
            "tutor_insights",
            "achievements",
            "current_tutor_risk",
            "tutor_scores",
            "tutor_health",
            "session_ledger",
            "session_changes",
            "history_repairs",
            "refresh_scope",
        )
    ),
    *(Rule(f"ops.{table}", student=_STUDENT) for table in ("student_scores", "student_health")),
    Rule(
        "ops.tutor_student_churn",
        _TUTOR,
        (Rows("%(id)s = any(student_ids)", "student_ids = array_remove(student_ids, %(id)s)"),),
    ),
    Rule("ops.feature_log", _TUTOR, _STUDENT),
    Rule("ops.set_aside_tutors", _TUTOR, masked=("reason",)),
    Rule(
        "ops.quarantine",
        (
            Rows(
                f"payload ->> 'tutor_id' = any(%(ids)s) or ({_IN_A_MALFORMED_LINE})"
                f" or ({_OF_THEIR_SESSION})"
            ),
        ),
        (Rows(f"payload ->> 'student_id' = any(%(ids)s) or ({_IN_A_MALFORMED_LINE})"),),
        masked=("payload", "raw"),
    ),
    Rule("ops.dq_results", masked=("sample", "observed", "query", "message"), sampled=("sample",)),
    Rule("ops.reconcile_runs", masked=("skipped",)),
    Rule(
        "ops.incidents",
        (Rows("kind = 'tutor_set_aside' and subject = any(%(ids)s)"),),
        masked=("title", "details"),
    ),
    Rule("ops.outbox", _TUTOR, masked=("details",)),
    # Of what is masked, a digest would tell whether a guess is right.
    Rule(
        "ops.event_inbox",
        (Rows(EVENTS_ABOUT[Role.TUTOR]),),
        (Rows(EVENTS_ABOUT[Role.STUDENT]),),
        masked=("body", "error"),
        strict=("body", "event_id", "session_id"),
        forgets="digest = ''",
    ),
    Rule(
        "ops.event_versions",
        (Rows(f"tutor_id = any(%(ids)s) or session_id = any(%(sessions)s) or {_OF_A_USER}"),),
        (
            Rows(f"{_OF_A_USER} or {_OF_A_STUDENT}"),
            Rows("table_name = 'session_transcript_highlights' and session_id = any(%(lessons)s)"),
            # Values of rows that wait: a session comes without its student.
            Rows(
                "kept ->> 'student_id' = any(%(ids)s)",
                "kept = kept - array['student_id', 'reschedule_reason']",
            ),
            Rows(
                "kept ?| array['feedback_text', 'reschedule_reason']"
                " and session_id = any(%(lessons)s)",
                "kept = kept - array['feedback_text', 'reschedule_reason']",
            ),
        ),
        masked=("versions", "deleted", "kept"),
        strict=("versions", "deleted", "kept", "row_key", "session_id"),
    ),
    Rule("ops.event_rejections", masked=("last_id",)),
    # `_erase_messages` deletes messages about the person, and their deliveries.
    Rule("ops.messages", masked=("subject",)),
    Rule("ops.deliveries", masked=("last_error",)),
)

NOTHING_PERSONAL: Mapping[str, str] = {
    "intermediate.int_import_days": "days of imports, and how much was imported",
    "marts.platform_metrics": "sums over everybody; the next refresh makes them anew",
    "ops.session_days": "sessions a day, of everybody",
    "ops.pipeline_zone": "a time zone",
    "ops.refresh_runs": "as of when, and which days",
    "ops.refresh_passes": "counts and seconds",
    "ops.rule_coverage": "counts of tutors",
    "ops.validation_reports": "counts, names of checks, the name of a file",
    "ops.dq_overrides": "names of checks, and who went past them",
    "ops.churn_algorithm_weights": "what a score weighs",
    "ops.churn_weight_history": "what a score weighed, and why",
    "ops.churn_weight_levels": "from which score on somebody is at risk",
    "ops.score_references": "what is usual among all",
    "ops.rule_references": "what is usual among all, for each rule",
    "ops.model_versions": "coefficients, and who accepted them",
    "ops.feature_log_days": "days, and names of columns",
    "ops.accepted_columns": "names of columns, and who accepted them",
    "ops.backtest_runs": "counts, and a report of them",
    "ops.backtest_metrics": "how well scorers do",
    "ops.source_states": "counts of rows, and who accepted a loss",
    "ops.platform_loads": "which folder or parameters filled the platform",
    "ops.accounts": "who may sign in at the desk, staff of the platform",
    "ops.sign_ins": "browsers of the desk, by the accounts of staff",
    "ops.sign_in_links": "links for staff",
    "ops.sign_in_failures": "counts, by hashes",
    "ops.downloads": "which lists staff downloaded: addresses of pages without their search words",
    "ops.erasures": "that somebody was erased, never who",
    "ops.event_secrets": "secrets of sources of events",
    "ops.event_erasures": "hashes of whom was erased, which only their key makes from an id",
    "ops.event_erasure_key": "that key",
    "ops.alembic_version": "one revision",
}
"""Our other tables, and why nothing in them is about one person."""


@dataclass(frozen=True, slots=True)
class Left:
    """A column that still holds the id in some rows.

    `of_other_role`: as the id of a student where a tutor was erased, or the reverse. That may be
    another person, or the same one in the other role.
    """

    table: str
    column: str
    rows: int
    of_other_role: bool


_SESSIONS_BY_EVENTS = statement(__file__, "sessions_by_events")
_LESSONS_BY_EVENTS = statement(__file__, "lessons_by_events")
_WITH_SESSIONS = {
    Role.TUTOR: ("staging.session_rows", "marts.fct_sessions", "ops.session_ledger"),
    Role.STUDENT: ("staging.session_rows", "marts.fct_sessions", _LISTS),
}


def known(database: Database, role: Role, id_: str) -> Person:
    """Returns the person with what our tables know: a tutor's sessions, or those in which a student
    took part; name and e-mail address. A platform of ours knows more (`sources.personal_rows`).
    """
    there = _tables(database)
    contact: tuple[str, ...] = ()
    people = f"marts.dim_{role}s"
    if people in there:
        row = database.one(
            database.sql(
                "select name, email from {table} where {id} = %s",
                table=_name(database, people),
                id=sql.Identifier(f"{role}_id"),
            ),
            (id_,),
        )
        contact = tuple(each for each in (row or {}).values() if each and each.strip())
    sessions = _sessions_with(database, role, id_, there)
    if role is Role.STUDENT:
        return Person(role, id_, contact=contact, lessons=frozenset(sessions))
    sessions -= _of_others(database, id_, sessions)
    return Person(role, id_, frozenset(sessions), contact)


def _sessions_with(database: Database, role: Role, id_: str, there: set[str]) -> set[str]:
    """Returns all sessions that something says are theirs."""
    sessions: set[str] = set()
    whose = sql.Identifier(f"{role}_id")
    for table in _WITH_SESSIONS[role]:
        if table in there:
            rows = database.execute(
                database.sql(
                    "select distinct session_id from {table} where {whose} = %s"
                    " and session_id is not null",
                    table=_name(database, table),
                    whose=whose,
                ),
                (id_,),
            )
            sessions.update(session for (session,) in rows)
    ids = list(Person(role, id_).ids)
    by_events = _SESSIONS_BY_EVENTS if role is Role.TUTOR else _LESSONS_BY_EVENTS
    sessions.update(each for (each,) in database.execute(by_events, {"ids": ids}))
    return sessions


def _of_others(database: Database, id_: str, sessions: set[str]) -> set[str]:
    """Returns those of the sessions that an event gave to another tutor."""
    rows = database.execute(
        "select session_id from {ops}.event_versions"
        " where table_name = 'sessions' and session_id = any(%s) and tutor_id <> %s",
        (list(sessions), id_),
    )
    return {session for (session,) in rows}


def erase(database: Database, person: Person) -> dict[str, int]:
    """Erases the person in the open transaction. Returns {table: rows deleted or changed}.

    Skips tables that do not exist yet. Repeating it changes nothing.
    """
    lock_queues(database)
    erased: dict[str, int] = {}
    there = _tables(database)
    rules = [rule for rule in RULES if rule.table in there]
    if person.role is Role.STUDENT and _LISTS in there:
        # Before the lists are deleted: they tell which lessons these are.
        for table in sorted(there & _WITH_WORDS):
            _count(erased, table, _erase_words(database, table, person))
    for rule in rules:
        for rows in rule.of(person.role):
            _count(erased, rule.table, _apply(database, rule.table, rows, person))
    for table, deleted in _erase_messages(database, person).items():
        _count(erased, table, deleted)
    # Masking comes last: deleted rows need not be read.
    for rule in rules:
        for column in rule.masked:
            _count(erased, rule.table, _mask(database, rule, column, person))
    return erased


def _erase_words(database: Database, table: str, person: Person) -> int:
    """Erases the texts of lessons that list the person: who of the list wrote them is not known."""
    return database.execute(
        database.sql(
            "update {table} set feedback_text = null, reschedule_reason = null"
            " where num_nonnulls(feedback_text, reschedule_reason) > 0 and session_id in ("
            "select session_id from {lists} where student_id = any(%s))",
            table=_name(database, table),
            lists=_name(database, _LISTS),
        ),
        ([*person.ids],),
    ).rowcount


def drop_remains(database: Database) -> None:
    """Drops the tables that a killed dbt left behind, in the open transaction.

    The caller holds the locks of all refreshes, so no dbt is running.
    """
    for name in _tables(database):
        if name.endswith(("__dbt_backup", "__dbt_tmp")):
            database.execute(database.sql("drop table {table}", table=_name(database, name)))


def record(
    database: Database, role: Role, rows: Mapping[str, int], *, by: str, at: datetime
) -> None:
    """Records that an erasure took place, in the open transaction."""
    database.execute(
        "insert into {ops}.erasures (erased_at, erased_by, role, rows) values (%s, %s, %s, %s)",
        (at, by, role, Jsonb(dict(rows))),
    )


def left(database: Database, person: Person, schemas: Iterable[str]) -> list[Left]:
    """Searches all columns of texts, JSON and arrays in these schemas for the id."""
    found = []
    for schema in schemas:
        for table, columns in _searchable(database, schema).items():
            found += _left_in(database, schema, table, columns, person)
    return found


def _count(erased: dict[str, int], table: str, rows: int) -> None:
    if rows:
        erased[table] = erased.get(table, 0) + rows


# Locks of those who write without the lock of refreshes: composing messages (`notify.compose`), the
# sensor that compares the ledger (`changes.ledger`), in the order in which the sensor takes its
# two, and applying events (`events.applying`).
_QUEUES = ("outbox", "session_ledger compare", "session_ledger write", "event_inbox apply")


def lock_queues(database: Database) -> None:
    """Locks these writers out until the transaction ends: they must not write what they read
    before it.
    """
    for queue in _QUEUES:
        database.lock(queue)


def _apply(database: Database, table: str, rows: Rows, person: Person) -> int:
    act = "delete from {table}" if rows.put is None else "update {table} set {put}"
    return database.execute(
        database.sql(
            f"{act} where {{where}}",
            table=_name(database, table),
            put=sql.SQL(rows.put or ""),
            where=database.sql(rows.where),
        ),
        parameters_of(person),
    ).rowcount


def parameters_of(person: Person) -> dict[str, Any]:
    """Returns the parameters of the conditions of `Rows`, and of EVENTS_ABOUT."""
    return {
        "id": person.id,
        "ids": list(person.ids),
        "sessions": list(person.sessions),
        "lessons": list(person.lessons),
    }


_TEXTS_OF_MESSAGE = ("subject", "text_body", "html_body")

# A message that is not sent yet tells of others too: its entries are composed again.
_COMPOSE_AGAIN = """
    update {ops}.outbox set message_id = null
    where message_id in (
        select message_id from {ops}.deliveries
        where message_id = any(%s) and state = 'waiting'
    )
"""


def _erase_messages(database: Database, person: Person) -> dict[str, int]:
    # A server-side cursor: the messages of three months do not fit into memory.
    with database.connection.cursor(name="messages") as rows:
        rows.execute(
            database.sql(
                "select message_id, tutor_ids, subject, text_body, html_body from {ops}.messages"
                " where tutor_ids && %(ids)s::text[] or {texts_may_name}",
                texts_may_name=_may_name(_TEXTS_OF_MESSAGE),
            ),
            {"ids": list(person.ids), "forms": list(person.words), "may_name": ""},
        )
        about = [
            message_id
            for message_id, tutors, *texts in rows
            if (person.role is Role.TUTOR and person.is_named_in(tutors, "tutor_ids"))
            or any(person.is_meant_in(text) for text in texts)
        ]
    database.execute(_COMPOSE_AGAIN, (about,))
    return {
        f"ops.{table}": database.execute(
            f"delete from {{ops}}.{table} where message_id = any(%s)", (about,)
        ).rowcount
        for table in ("deliveries", "messages")
    }


def _mask(database: Database, rule: Rule, column: str, person: Person) -> int:
    """Masks the person in a column. Finds values by their old content: no table needs a key."""
    table, name = _name(database, rule.table), sql.Identifier(column)
    kind = database.value(
        "select format_type(atttypid, null) from pg_attribute"
        " where attrelid = %s::regclass and attname = %s",
        (table.as_string(database.connection), column),
    )
    is_json = kind == "jsonb"
    holds = _may_name([column])
    if column in rule.sampled and person.sessions:
        holds = sql.SQL("({} or {})").format(holds, _HAS_SESSION.format(column=name))
    values = database.execute(
        database.sql(
            "select distinct {column}::text from {table} where {holds}",
            column=name,
            table=table,
            holds=holds,
        ),
        {
            "forms": list(person.forms),
            "may_name": person.may_name,
            "sessions": list(person.sessions),
        },
    ).fetchall()
    update = database.sql(
        "update {table} set {column} = %s{cast}{forgets} where {column} = %s{cast}",
        table=table,
        column=name,
        cast=sql.SQL("::jsonb" if is_json else ""),
        forgets=sql.SQL(f", {rule.forgets}" if rule.forgets else ""),
    )
    is_strict = column in rule.strict
    changed = 0
    for (text,) in values:
        value = json.loads(text) if is_json else _read(text) if is_strict else text
        masked = person.masked(value, column, strictly=is_strict)
        if masked != value:
            new = masked if isinstance(value, str) and not is_json else _written(masked)
            changed += database.execute(update, (new, text)).rowcount
    return changed


def _read(text: str) -> Any:
    """Returns the JSON of a text, the text itself where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _written(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


_HAS_SESSION = sql.SQL(
    "exists (select 1"
    " from jsonb_path_query({column}, '$.** ? (@.type() == \"string\")') as leaf (v)"
    " where leaf.v #>> '{{}}' = any(%(sessions)s::text[]))"
)


def _may_name(columns: Iterable[str]) -> sql.Composed:
    """Returns a condition: one of the columns may name the person. Python decides exactly."""
    return sql.SQL(" or ").join(
        sql.SQL(
            "(exists (select 1 from unnest(%(forms)s::text[]) as form"
            " where position(form in {column}::text) > 0) and {column}::text ~* %(may_name)s)"
        ).format(column=sql.Identifier(column))
        for column in columns
    )


# Columns of texts, JSON and arrays of those, in tables and materialized views.
_SEARCHABLE = """
    select c.relname, a.attname
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid
    join pg_type as t on t.oid = a.atttypid
    left join pg_type as element on element.oid = t.typelem and t.typcategory = 'A'
    where c.relnamespace = to_regnamespace(quote_ident(%s)) and c.relkind in ('r', 'p', 'm')
        and a.attnum > 0 and not a.attisdropped
        and (
            coalesce(element.typcategory, t.typcategory) = 'S'
            or coalesce(element.typname, t.typname) in ('json', 'jsonb', 'uuid')
        )
    order by c.relname, a.attnum
"""


def _searchable(database: Database, schema: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table, column in database.execute(_SEARCHABLE, (schema,)):
        found.setdefault(table, []).append(column)
    return found


def _left_in(
    database: Database, schema: str, table: str, columns: Sequence[str], person: Person
) -> list[Left]:
    """Reads the table once and checks each row that may name the person."""
    query = database.sql(
        "select {values} from {table} where {holds}",
        values=sql.SQL(", ").join(
            sql.SQL("to_jsonb({})::text").format(sql.Identifier(column)) for column in columns
        ),
        table=sql.Identifier(schema, table),
        holds=_may_name(columns),
    )
    name = f"{schema.removeprefix(database.schemas.prefix)}.{table}"
    strict = next((rule.strict for rule in RULES if rule.table == name), ())
    # By id alone: nobody knows any more whose a session was.
    alone, other = Person(person.role, person.id), Person(person.role.other, person.id)
    counts = Counter[tuple[str, bool]]()
    with database.transaction(), database.connection.cursor("left") as cursor:
        cursor.itersize = 1_000
        cursor.execute(query, {"forms": list(alone.forms), "may_name": alone.may_name})
        for row in cursor:
            values = {
                column: None if text is None else json.loads(text)
                for column, text in zip(columns, row, strict=True)
            }
            for column in values:
                value, key = _said(column, values)
                is_strict = column in strict
                if is_strict and isinstance(value, str):
                    value = _read(value)
                if alone.is_named_in(value, key, strictly=is_strict):
                    counts[column, False] += 1
                elif other.is_named_in(value, key, strictly=is_strict):
                    counts[column, True] += 1
    return [
        Left(f"{schema}.{table}", column, rows, of_other_role)
        for (column, of_other_role), rows in counts.items()
    ]


def _said(column: str, values: Mapping[str, Any]) -> tuple[Any, str]:
    """Returns a value, and the key that says whose it is: that may stand beside it."""
    if column == "subject_id" and "subject_kind" in values:
        return values[column], f"{values['subject_kind']}_id"
    at = _STUDENT_AT.get(values.get("table_name") or "")
    if column in ("row_key", "row_name") and at is not None:
        return values["row_key"][at], "student_id"
    return values[column], column


def _tables(database: Database) -> set[str]:
    """Returns the existing tables of our schemas, as schema.name without the prefix."""
    rows = database.execute(
        "select n.nspname, c.relname from pg_class as c"
        " join pg_namespace as n on n.oid = c.relnamespace"
        " where n.nspname = any(%s) and c.relkind in ('r', 'p')",
        (list(database.schemas.ours),),
    )
    prefix = database.schemas.prefix
    return {f"{schema.removeprefix(prefix)}.{table}" for schema, table in rows}


def _name(database: Database, table: str) -> sql.Identifier:
    schema, name = table.split(".", 1)
    return sql.Identifier(f"{database.schemas.prefix}{schema}", name)
