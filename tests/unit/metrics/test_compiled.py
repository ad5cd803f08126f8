"""Passes without dbt: what dbt would run is run, and dbt is asked again when it would differ."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.metrics.conftest import AS_OF, Bench
from tests.unit.metrics.test_incremental import (
    SNAPSHOT_DAYS,
    TUTORS,
    change,
    operations,
    start_over,
)
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, write_header
from tutor_pipeline.metrics import dbt
from tutor_pipeline.metrics.compiled import Asked, ScopedBuilds
from tutor_pipeline.steps.order import MODELS_OF_A_TUTOR, OF_GROUPS

KEYS = {
    "{staging}.session_rows": "session_id",
    "{marts}.fct_sessions": "session_id",
    "{marts}.dim_tutors": "tutor_id",
    "{intermediate}.int_tutor_days": "tutor_id, session_on",
    "{marts}.tutor_aggregates": "tutor_id",
    "{marts}.tutor_features": "tutor_id",
    "{marts}.tutor_evidence": "tutor_id",
}
MODELS = tuple(MODELS_OF_A_TUTOR)


class Passes:
    """Scoped builds on a bench, as the run of a refresh makes them."""

    def __init__(self, bench: Bench, builds: ScopedBuilds) -> None:
        self.bench = bench
        self.builds = builds

    def build(
        self, *tutors: str, as_of: datetime = AS_OF, models: tuple[str, ...] = MODELS
    ) -> Asked:
        run = RefreshRun(uuid4().hex, as_of, tutors)
        write_header(self.bench.warehouse, run)
        with self.bench.warehouse.connect(autocommit=True) as database:
            asked = self.builds.build(database, run, models)
        (header,) = self.bench.rows(
            "select built_at from {ops}.refresh_runs where run_id = %s", run.run_id
        )
        assert header["built_at"] is not None
        return asked


@pytest.fixture(scope="module")
def roster(bench: Bench) -> Bench:
    bench.insert("tutors", [{"user_id": tutor} for tutor in [*TUTORS, "idle"]])
    bench.execute("alter table {platform}.sessions drop constraint sessions_pkey")
    bench.execute("alter table {platform}.sessions alter tutor_id drop not null")
    start_over(bench, random.Random(1))
    bench.refresh(days=SNAPSHOT_DAYS)
    return bench


@pytest.fixture(scope="module")
def passes(roster: Bench) -> Iterator[Passes]:
    with dbt.hold_environment(dbt.dbt_environment(roster.warehouse, "-", roster.home)):
        yield Passes(roster, ScopedBuilds(roster.warehouse, dbt.parse()))


def state(bench: Bench, tutor: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """The rows of all tutors or of one, without the moment they are as of."""
    return {
        table: bench.rows(
            f"select to_jsonb(r) - '{{{{as_of,as_of_date,as_of_on}}}}'::text[] as row"
            f" from {table} as r where coalesce(tutor_id = %s, true) order by {key}, r::text",
            tutor,
        )
        for table, key in KEYS.items()
    }


def check_a_pass_equals_dbt(passes: Passes, seed: int, batches: list, random_session: Any) -> None:
    bench = passes.bench
    rng = random.Random(seed)
    start_over(bench, rng)
    bench.refresh(days=SNAPSHOT_DAYS)
    as_of = AS_OF
    for batch in batches:
        # Over midnight, and over the ends of windows.
        as_of += timedelta(hours=rng.choice([0, 1, 9, 30, 24 * 7]))
        tutors: set[str | None] = set()
        for operation, salt in batch:
            tutors |= change(bench, random.Random(salt), operation, random_session)
        passes.build(*sorted(tutor for tutor in tutors if tutor is not None), as_of=as_of)
        # Tutors whom the pass did not touch are as of an earlier moment.
        passes.build(*TUTORS, "idle", "unheard of", as_of=as_of)
    by_passes = state(bench)
    bench.refresh(as_of, select=["*", "--full-refresh"])
    by_dbt = state(bench)
    for table in KEYS:
        assert by_passes[table] == by_dbt[table], table


@settings(max_examples=1, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1000), batches=st.lists(operations, min_size=2, max_size=2))
def test_passes_equal_a_full_rebuild(
    passes: Passes, random_session: Any, seed: int, batches: list
) -> None:
    check_a_pass_equals_dbt(passes, seed, batches, random_session)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=8, database=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), batches=st.lists(operations, min_size=1, max_size=5))
def test_passes_equal_a_full_rebuild_at_length(
    passes: Passes, random_session: Any, seed: int, batches: list
) -> None:
    check_a_pass_equals_dbt(passes, seed, batches, random_session)


CHANGES = {
    "a column of the platform goes": (
        "alter table {platform}.sessions drop column follow_up_booked",
        Asked.TEXT,
    ),
    "a column of the platform has another type": (
        "alter table {platform}.sessions alter overall_session_score type real",
        Asked.TEXT,
    ),
    "ids are unique from now on": (
        "delete from {platform}.sessions as one using {platform}.sessions as other"
        " where one.id = other.id and one.ctid > other.ctid;"
        "create unique index on {platform}.sessions (id)",
        Asked.TEXT,
    ),
    "a table of the platform goes": ("drop table {platform}.session_video_metrics", Asked.TEXT),
    "a table comes beside ours": ("create table {marts}.of_somebody (x integer)", Asked.TEXT),
    "what was never recorded is": (
        "insert into {platform}.sessions"
        " (id, tutor_id, status, rescheduled_by, scheduled_start)"
        " values ('first', 't1', 'rescheduled', 'tutor', '2026-03-15 10:00+00')",
        Asked.BUILD,
    ),
    "a table of ours is of an older version": (
        "alter table {marts}.tutor_features drop column attr_prior_days cascade",
        Asked.BUILD,
    ),
    "a table of ours is gone": ("drop table {marts}.tutor_evidence cascade", Asked.BUILD),
}


@pytest.mark.usefixtures("as_it_was")
@pytest.mark.parametrize("what", CHANGES)
def test_dbt_is_asked_again_once_when_it_would_render_something_else(
    roster: Bench, passes: Passes, what: str
) -> None:
    statement, asked = CHANGES[what]
    if what == "what was never recorded is":
        roster.execute("update {platform}.sessions set rescheduled_by = null")
    if "older version" in what:
        (column, *_) = roster.rows(
            "select attname from pg_attribute where attrelid = '{marts}.tutor_features'::regclass"
            " and attnum > 0 and not attisdropped order by attnum desc limit 1"
        )
        statement = statement.replace("attr_prior_days", column["attname"])
    roster.refresh(days=SNAPSHOT_DAYS)
    passes.builds.prepare(MODELS, AS_OF)
    assert passes.build("t1") is Asked.NOT
    with roster.warehouse.connect() as database:
        database.execute(statement)
    assert passes.build("t1") is asked
    # Once: after a build by dbt the statements are not known any more.
    again = passes.build("t1")
    assert again is (Asked.TEXT if asked is Asked.BUILD else Asked.NOT)
    assert passes.build("t1") is Asked.NOT
    before = state(roster, "t1")
    roster.refresh(select=["*", "--full-refresh"])
    assert state(roster, "t1") == before


@pytest.mark.usefixtures("as_it_was")
def test_other_models_are_compiled_anew(roster: Bench, passes: Passes) -> None:
    passes.builds.prepare(MODELS, AS_OF)
    roster.execute("create table {platform}.session_students (session_id text, student_id text)")
    roster.refresh(days=SNAPSHOT_DAYS)
    models = (*MODELS, *OF_GROUPS)
    assert passes.build("t1", models=models) is Asked.TEXT
    assert passes.build("t1", models=models) is Asked.NOT


@pytest.mark.usefixtures("as_it_was")
def test_a_build_that_fails_changes_nothing(roster: Bench, passes: Passes) -> None:
    roster.refresh(days=SNAPSHOT_DAYS)
    passes.builds.prepare(MODELS, AS_OF)
    before = state(roster)
    roster.execute("update {platform}.sessions set status = 'cancelled' where tutor_id = 't1'")
    roster.execute(
        "create function public.refuse() returns trigger language plpgsql as"
        " $$ begin raise 'no evidence today'; end $$"
    )
    roster.execute(
        "create trigger refuse before insert on {marts}.tutor_evidence"
        " for each statement execute function public.refuse()"
    )
    with pytest.raises(psycopg.errors.RaiseException, match="no evidence today"):
        passes.build("t1")
    assert state(roster) == before


def test_a_pass_over_every_tutor_asks_dbt_no_more_than_others(
    roster: Bench, passes: Passes
) -> None:
    start_over(roster, random.Random(2))
    roster.refresh(days=SNAPSHOT_DAYS)
    passes.builds.prepare(MODELS, AS_OF)
    everybody = [row["tutor_id"] for row in roster.rows("select tutor_id from {marts}.dim_tutors")]
    assert passes.build(*everybody, *TUTORS) is Asked.NOT


STRANGE = """o'b\\1, "x" {y}"""


@pytest.mark.usefixtures("as_it_was")
def test_a_scope_is_a_constant_also_of_tutors_who_share_a_session(
    roster: Bench, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a query's array PostgreSQL believes ten elements, and joins hundreds of tutors as if they
    were one.
    """
    start_over(roster, random.Random(3))
    roster.add("tutors", user_id=STRANGE)
    roster.execute("update {platform}.sessions set tutor_id = %s where tutor_id = 't2'", STRANGE)
    roster.execute(
        "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
        " select 'shared', tutor_id, '2026-03-15 10:00+00', 'completed'"
        " from unnest(%s::text[]) as tutor_id",
        ["t1", STRANGE],
    )
    roster.refresh(days=SNAPSHOT_DAYS)
    passes.builds.prepare(MODELS, AS_OF)
    ran, execute = [], psycopg.Cursor.execute

    def note(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        ran.append(query if isinstance(query, str) else query.as_string(None))
        return execute(self, query, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Cursor, "execute", note)
        assert passes.build("t1") is Asked.NOT
    scope = roster.row(
        "select quote_literal(array(select unnest(%s::text[]) order by 1)::text) as array",
        ["t1", STRANGE],
    )["array"]
    ours = [
        text
        for text in ran
        if re.match(r"(insert into|delete from) \S*(staging|intermediate|marts)", text)
    ]
    assert len(ours) >= 2 * len(MODELS)
    assert all(scope in text and "refresh_scope" not in text for text in ours)
    before = {tutor: state(roster, tutor) for tutor in ("t1", STRANGE)}
    assert before[STRANGE]["{marts}.fct_sessions"]
    roster.refresh(select=["*", "--full-refresh"])
    assert {tutor: state(roster, tutor) for tutor in before} == before


def test_while_somebody_writes_snapshots_dbt_builds_and_leaves_them_to_him(
    roster: Bench, passes: Passes
) -> None:
    roster.refresh(days=SNAPSHOT_DAYS)
    key = f"snapshots {roster.warehouse.schemas.marts}"
    with roster.warehouse.connect() as writer:
        writer.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))
        passes.builds.prepare(MODELS, AS_OF)
        assert passes.build("t1") is Asked.BUILD
    assert passes.build("t1") is Asked.TEXT
    assert passes.build("t1") is Asked.NOT


def test_nothing_stays_of_what_was_only_compiled(roster: Bench, passes: Passes) -> None:
    headers = "select count(*) as n from {ops}.refresh_runs"
    before = roster.row(headers), state(roster)
    passes.builds.prepare(MODELS, AS_OF)
    assert (roster.row(headers), state(roster)) == before
