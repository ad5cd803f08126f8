"""Which losses are ordinary, and what they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.sources import losses
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.losses import Limits
from tutor_pipeline.sources.platform_check import check_source
from tutor_pipeline.sources.relations import UnreadableError

NOW = datetime(2026, 3, 18, 12, tzinfo=UTC)
LIMITS = Limits(share=0.02, sessions=20, tutors=3)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("kind", "had", "lost", "is_ordinary"),
    [
        ("sessions", 100, 20, True),
        ("sessions", 100, 21, False),
        ("sessions", 2_000, 40, True),
        ("sessions", 2_000, 41, False),
        ("tutors", 10, 3, True),
        ("tutors", 10, 4, False),
        ("tutors", 200, 4, True),
        ("tutors", 200, 5, False),
        ("tutors.last_login", 10, 4, False),
        ("session_feedback", 21, 21, False),
        ("session_feedback", 20, 20, True),
        ("sessions", 100, -50, True),
        ("sessions", 0, 0, True),
    ],
)
def test_a_loss_is_ordinary_up_to_the_share_or_the_number(
    kind: str, had: int, lost: int, is_ordinary: bool
) -> None:
    assert LIMITS.allow(kind, had, had - lost) is is_ordinary


@pytest.fixture
def database(platform_warehouse: Warehouse) -> Iterator[Database]:
    """200 sessions, two a day, with feedback; 50 tutors. Everything is rolled back."""
    with platform_warehouse.connect() as database:
        database.execute(
            "insert into {platform}.tutors (user_id, active_status)"
            " select 't' || n, true from generate_series(0, 49) as n"
        )
        database.execute(
            "insert into {platform}.sessions (id, tutor_id, scheduled_start, status, student_id)"
            " select 's' || n, 't' || n %% 50, %s - n * interval '12 hours', 'completed', 'p'"
            " from generate_series(0, 199) as n",
            (NOW,),
        )
        database.execute(
            "insert into {platform}.session_feedback (session_id, student_satisfaction_rating)"
            " select id, 5 from {platform}.sessions"
        )
        yield database
        database.rollback()


def accept(database: Database, at: datetime = NOW, *, whole: bool = True, **options: Any) -> None:
    losses.accept(database, at, at, run_id="r", why="a test", whole=whole, **options)


def found(database: Database, at: datetime = NOW, *, whole: bool = True) -> dict[str, int]:
    """kind → how much is gone."""
    return {
        each.kind: each.had - each.has for each in losses.find(database, at, LIMITS, whole=whole)
    }


def test_before_anything_is_accepted_nothing_is_missing(database: Database) -> None:
    assert not losses.has_states(database)
    assert found(database) == {}


def test_sessions_count_in_the_90_days_up_to_the_state(database: Database) -> None:
    accept(database)
    assert losses.count(database, NOW, whole=False) == {"sessions": 180, "tutors": 50}
    # Older ones are nobody's loss, and new ones hide none.
    database.execute(
        "delete from {platform}.sessions where scheduled_start <= %s", (NOW - losses.LOOKBACK,)
    )
    assert found(database) == {}
    database.execute("delete from {platform}.sessions where ltrim(id, 's')::integer < 21")
    database.execute(
        "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
        " select 'new' || n, 't1', %s + n * interval '1 minute', 'completed'"
        " from generate_series(1, 90) as n",
        (NOW,),
    )
    assert found(database, NOW + HOUR) == {"sessions": 21}
    assert found(database, NOW + HOUR, whole=False) == {"sessions": 21}


def test_what_is_about_lost_sessions_is_not_named_again(database: Database) -> None:
    accept(database)
    database.execute("delete from {platform}.session_feedback")
    database.execute("delete from {platform}.sessions where ltrim(id, 's')::integer < 100")
    assert list(found(database)) == ["sessions"]


@pytest.mark.parametrize(
    ("change", "whole", "lost"),
    [
        ("delete from {platform}.tutors where user_id < 't13'", False, {"tutors": 5}),
        ("truncate {platform}.session_feedback", False, {"session_feedback": 180}),
        ("drop table {platform}.session_feedback", False, {"session_feedback": 180}),
        ("delete from {platform}.session_feedback where session_id < 's2'", False, {}),
        ("delete from {platform}.session_feedback where session_id < 's2'", True,
         {"session_feedback": 92}),
        ("update {platform}.session_feedback set student_satisfaction_rating = null", True,
         {"session_feedback.student_satisfaction_rating": 180}),
        ("alter table {platform}.sessions drop column student_id", True,
         {"sessions.student_id": 180}),
        ("update {platform}.tutors set active_status = null", True, {"tutors.active_status": 50}),
    ],
)  # fmt: skip
def test_every_table_and_column_counts(
    database: Database, change: str, whole: bool, lost: dict[str, int]
) -> None:
    accept(database)
    database.execute(change)
    assert found(database, whole=whole) == lost


def test_small_losses_add_up_for_24_hours(database: Database) -> None:
    for hour in range(30):
        accept(database, NOW + hour * HOUR, whole=False)
        database.execute(
            "delete from {platform}.sessions where id in (select id from {platform}.sessions"
            " where scheduled_start <= %s order by scheduled_start desc limit 1)",
            (NOW,),
        )
    # The oldest state of the last 24 hours is that of hour 6.
    assert found(database, NOW + 30 * HOUR) == {"sessions": 24}
    # A loss that lasts is compared with the newest state, however old.
    database.execute("delete from {platform}.sessions")
    assert found(database, NOW + timedelta(days=9))["sessions"] > 100


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "delete from {platform}.sessions where ltrim(id, 's')::integer < 10",
            "180 of 180 rows are gone (100%, there at 2026-03-18 12:00 UTC)",
        ),
        (
            "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
            " select 'more' || n, 't1', timestamptz '2026-03-18 11:00+00', 'completed'"
            " from generate_series(1, 10) as n",
            "190 of 190 rows are gone (100%, there at 2026-03-18 13:00 UTC)",
        ),
    ],
    ids=["fewer", "more"],
)
def test_a_loss_is_told_from_the_state_that_had_most(
    database: Database, change: str, said: str
) -> None:
    accept(database)
    database.execute(change)
    accept(database, NOW + HOUR)
    database.execute("delete from {platform}.sessions")
    (loss,) = losses.find(database, NOW + HOUR, LIMITS, whole=True)
    assert str(loss) == f"sessions: {said}"


def test_who_accepts_a_loss_starts_anew(database: Database) -> None:
    accept(database)
    database.execute("delete from {platform}.sessions where ltrim(id, 's')::integer < 100")
    assert found(database, NOW + HOUR)
    accept(database, NOW + HOUR, by="ada")
    assert found(database, NOW + HOUR) == {}
    database.execute("delete from {platform}.sessions")
    losses.accept_next(database, NOW + HOUR, why="tutor-pipeline generate")
    assert found(database, NOW + HOUR) == {}
    accept(database, NOW + 2 * HOUR, whole=False)
    assert found(database, NOW + 2 * HOUR) == {}


def test_a_state_of_a_pass_keeps_the_counts_of_the_rest(database: Database) -> None:
    accept(database)
    accept(database, NOW + HOUR, whole=False)
    database.execute("truncate {platform}.session_feedback")
    assert found(database, NOW + timedelta(days=2)) == {"session_feedback": 180}


@pytest.mark.parametrize("at", [timedelta(0), HOUR - timedelta(seconds=1)])
def test_a_pass_adds_a_state_every_hour(database: Database, at: timedelta) -> None:
    assert losses.is_due(database, NOW)
    accept(database)
    assert not losses.is_due(database, NOW + at)
    assert losses.is_due(database, NOW + HOUR)


def known(database: Database, tutor: str, session: str, version: int | None = 1) -> None:
    database.execute(
        "insert into {ops}.session_ledger (tutor_id, session_id, scheduled_start, version,"
        " session_version, processed_at, pending_since) values (%s, %s, %s, %s, %s, %s, %s)",
        (tutor, session, NOW, version, version, NOW if version else None,
         None if version else NOW),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tutor", "session", "version", "whole"),
    [
        pytest.param("t1", "s1", 1, False, id="there, and not read"),
        pytest.param("t1", "gone", 1, True, id="not there"),
        pytest.param("t2", "s1", 1, True, id="there, of another tutor"),
        pytest.param("t1", "s1", None, True, id="not processed yet"),
        pytest.param("t9", "s9", 1, True, id="of a tutor that is not refreshed"),
    ],
)
def test_what_is_known_and_there_was_read(
    database: Database, tutor: str, session: str, version: int | None, whole: bool
) -> None:
    database.execute(
        "create table if not exists {staging}.session_rows (tutor_id text, session_id text)"
    )
    known(database, tutor, session, version)
    assert losses.read_whole(database, ["t1", "t2"]) is whole
    database.execute("insert into {staging}.session_rows values (%s, %s)", (tutor, session))
    assert losses.read_whole(database, ["t1", "t2"])
    assert losses.read_whole(database, None)


@pytest.fixture
def reader(platform_warehouse: Warehouse) -> Iterator[Callable[..., Any]]:
    """Connects as a role that may read the platform, and counts there."""
    role = f"reader_{platform_warehouse.url[-12:]}"
    with platform_warehouse.connect() as database:
        database.execute(f"create role {role} login password 'seen'")
        database.execute(f"grant usage on schema {{platform}}, {{ops}} to {role}")
        database.execute(f"grant select on all tables in schema {{platform}}, {{ops}} to {role}")

    def connected(change: str) -> Database:
        with platform_warehouse.connect() as database:
            database.execute(change.format(role=role, platform="{platform}"))
        return platform_warehouse.connect(user=role, password="seen")

    yield connected
    with platform_warehouse.connect() as database:
        database.execute("alter table {platform}.sessions disable row level security")
        database.execute(f"drop owned by {role}")
        database.execute(f"drop role {role}")


def test_rows_that_row_level_security_hides_are_an_error(reader: Any) -> None:
    with reader("alter table {platform}.sessions enable row level security") as database:
        (problem,) = check_source(database, load_contract(), NOW).problems
        assert "row-level security hides rows of platform.sessions" in problem
        assert "bypassrls" in problem
        with pytest.raises(TutorPipelineError, match="hides rows of platform"):
            losses.count(database, NOW, whole=False)


@pytest.mark.parametrize(
    ("revoked", "named"),
    [
        ("sessions", "platform.sessions: ask its owner"),
        ("session_feedback", "platform.session_feedback: ask its owner"),
        ("users", "platform.users: ask its owner"),
    ],
)
def test_what_may_not_be_read_is_an_error_with_who_and_what(
    reader: Any, revoked: str, named: str
) -> None:
    with reader(f"revoke select on {{platform}}.{revoked} from {{role}}") as database:
        with pytest.raises(UnreadableError, match=f"may not read {named}"):
            losses.count(database, NOW, whole=True)
        with pytest.raises(UnreadableError, match=f"may not read {named}"):
            losses.find(database, NOW, LIMITS, whole=False)


def test_columns_that_may_not_be_read_are_named(reader: Any) -> None:
    statement = (
        "revoke select on {platform}.sessions from {role};"
        " grant select (id, tutor_id, student_id) on {platform}.sessions to {role}"
    )
    with (
        reader(statement) as database,
        pytest.raises(UnreadableError, match=r"platform\.sessions \(.*scheduled_start"),
    ):
        losses.count(database, NOW, whole=False)
