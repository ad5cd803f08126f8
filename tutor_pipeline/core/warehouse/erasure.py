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

from psycopg import sql
from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.personal_data import Person, Role


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows about the person. They are deleted, or updated with the assignments `put`.

    %(id)s is the person's id, %(ids)s are the forms of it that a column may hold.
    """

    where: str
    put: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """How a person is erased from a table (schema.name, without prefix).

    `masked`: text or JSON columns of rows about other people that may name the person. `sampled`:
    those of them in which a session of the person may stand alone.
    """

    table: str
    tutor: tuple[Rows, ...] = ()
    student: tuple[Rows, ...] = ()
    masked: tuple[str, ...] = ()
    sampled: tuple[str, ...] = ()

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
        (Rows(f"payload ->> 'tutor_id' = any(%(ids)s) or ({_IN_A_MALFORMED_LINE})"),),
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


def known(database: Database, role: Role, id_: str) -> Person:
    """Returns the person with what our tables know: a tutor's sessions, name and e-mail address."""
    there = _tables(database)
    sessions: set[str] = set()
    if role is Role.TUTOR:
        for table in ("staging.session_rows", "marts.fct_sessions", "ops.session_ledger"):
            if table in there:
                rows = database.execute(
                    database.sql(
                        "select distinct session_id from {table} where tutor_id = %s"
                        " and session_id is not null",
                        table=_name(database, table),
                    ),
                    (id_,),
                )
                sessions.update(session for (session,) in rows)
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
    return Person(role, id_, frozenset(sessions), contact)


def erase(database: Database, person: Person) -> dict[str, int]:
    """Erases the person in the open transaction. Returns {table: rows deleted or changed}.

    Skips tables that do not exist yet. Repeating it changes nothing.
    """
    _lock_queues(database)
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


# Locks of those who write without the lock of refreshes: composing messages (`notify.compose`), and
# the sensor that compares the ledger (`changes.ledger`), in the order in which the sensor takes its
# two.
_QUEUES = ("outbox", "session_ledger compare", "session_ledger write")


def _lock_queues(database: Database) -> None:
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
        {"id": person.id, "ids": list(person.ids)},
    ).rowcount


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
        "update {table} set {column} = %s{cast} where {column} = %s{cast}",
        table=table,
        column=name,
        cast=sql.SQL("::jsonb" if is_json else ""),
    )
    changed = 0
    for (text,) in values:
        value = json.loads(text) if is_json else text
        masked = person.masked(value, column)
        if masked != value:
            new = json.dumps(masked) if is_json else masked
            changed += database.execute(update, (new, text)).rowcount
    return changed


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
            for column, value in values.items():
                # Whose id it is stands beside it.
                is_subject = column == "subject_id" and "subject_kind" in values
                key = f"{values['subject_kind']}_id" if is_subject else column
                if alone.is_named_in(value, key):
                    counts[column, False] += 1
                elif other.is_named_in(value, key):
                    counts[column, True] += 1
    return [
        Left(f"{schema}.{table}", column, rows, of_other_role)
        for (column, of_other_role), rows in counts.items()
    ]


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
