"""What is committed of a simulation, in a real database that now and then is away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from tutor_pipeline.cli.simulate import log_line, per_second, seconds
from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.sources.synthetic import Parameters, generate
from tutor_pipeline.sources.synthetic.casting import cast_of_population
from tutor_pipeline.sources.synthetic.live_events import Cast, Delay, Event, Habits, Kind, Plan
from tutor_pipeline.sources.synthetic.live_player import Summary, play, read_cast
from tutor_pipeline.sources.synthetic.live_simulation import MOST_PAIRS, simulate
from tutor_pipeline.sources.synthetic.load import load

PARAMETERS = Parameters.preset("dev", date(2026, 11, 19))
START = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
RESTLESS = Habits(corrected=0.2, deleted=0.2, moved_to_tutor=0.2, moved_to_day=0.2, held=0.1)


class Clock:
    """Time that passes as fast as somebody waits for it."""

    def __init__(self, on_wait: Callable[[Clock], bool] = lambda _: False) -> None:
        self.now = 0.0
        self._on_wait = on_wait

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self._on_wait(self)


def run(
    warehouse: Warehouse, events: Iterator[Event], clock: Clock, **options: Any
) -> tuple[Summary, list[Event]]:
    done: list[Event] = []
    summary = play(
        warehouse,
        events,
        committed=done.append,
        clock=clock,
        wait=clock.wait,
        **options,
    )
    return summary, done


@pytest.fixture
def cast(warehouse: Warehouse) -> Cast:
    """A platform as generated, and its cast."""
    with warehouse.connect() as connection:
        load(connection, generate(PARAMETERS))
        return read_cast(connection, PARAMETERS, START)


def table(warehouse: Warehouse, name: str) -> dict[str, dict[str, Any]]:
    """The rows that were simulated, by session or by their own id."""
    key = "id" if name in {"sessions", "users"} else "session_id"
    with warehouse.connect(row_factory=psycopg.rows.dict_row) as connection:
        rows = connection.execute(f"select * from platform.{name} where {key} ~ '^S.*-'")
        return {row[key]: row for row in rows}


def expected(events: list[Event]) -> dict[str, dict[str, Any]]:
    """The sessions that these events leave, told without a database."""
    found: dict[str, dict[str, Any]] = {}
    for event in sorted(events, key=lambda event: event.at + event.held_for):
        for write in event.writes:
            if write.table == "sessions":
                found.setdefault(event.session_id, {}).update(write.values)
        if event.kind is Kind.DELETION:
            del found[event.session_id]
    return found


def assert_holds(warehouse: Warehouse, events: list[Event]) -> None:
    there, wanted = table(warehouse, "sessions"), expected(events)
    assert there.keys() == wanted.keys()
    for session_id, values in wanted.items():
        stored = {name: there[session_id][name] for name in values}
        score = stored["overall_session_score"]
        stored["overall_session_score"] = None if score is None else float(score)
        assert stored == values
    inserted = {
        event.session_id
        for event in events
        if any(write.table == "session_feedback" for write in event.writes)
        and event.kind is Kind.FEEDBACK
    }
    assert table(warehouse, "session_feedback").keys() == inserted
    for part in ("audio_metrics", "billing", "transcript_highlights"):
        assert table(warehouse, f"session_{part}").keys() <= wanted.keys()


def test_the_cast_is_the_active_tutors_with_their_students(
    warehouse: Warehouse, cast: Cast
) -> None:
    with warehouse.connect() as connection:
        active = connection.execute(
            "select user_id from platform.tutors where active_status order by 1"
        ).fetchall()
        numbers = connection.execute(
            "select tutor_id, student_id, max(session_number) from platform.sessions"
            " where status = 'completed' group by 1, 2"
        ).fetchall()
    assert cast.tutor_ids == tuple(tutor for (tutor,) in active)
    assert len(cast.traits.rating) == len(cast.tutor_ids) < PARAMETERS.tutors
    held = {(tutor, student): number for tutor, student, number in numbers}
    pairs = [(t, p) for t, of in zip(cast.tutor_ids, cast.pairs, strict=True) for p in of]
    assert len(pairs) > 100
    assert all(pair.held == held.get((t, pair.student_id), pair.held) for t, pair in pairs)
    assert all(cast.subjects)


@pytest.mark.parametrize("primary", ["", "update platform.tutors set primary_subject = null"])
def test_a_population_gives_the_cast_that_its_platform_gives(
    warehouse: Warehouse, primary: str
) -> None:
    """Without a database, for instance to send events, the same tutors teach the same students."""
    population = generate(replace(PARAMETERS, days=60, sessions_per_day=40))
    parameters = population.parameters
    with warehouse.connect() as connection:
        load(connection, population)
        if primary:
            connection.execute(primary)
            tutors = population.platform["tutors"]
            nothing = {"primary_subject": np.full(parameters.tutors, b"")}
            population = replace(
                population, platform={**population.platform, "tutors": {**tutors, **nothing}}
            )
        read = read_cast(connection, parameters, START)
    made = cast_of_population(population, START)
    assert (made.tutor_ids, made.subjects) == (read.tutor_ids, read.subjects)
    assert made.pairs == read.pairs
    assert any(len(pairs) == MOST_PAIRS for pairs in made.pairs)
    for name in ("burnout", "spirits", "hourly_rate"):
        assert (getattr(made, name) == getattr(read, name)).all()
    for trait in fields(made.traits):
        assert (getattr(made.traits, trait.name) == getattr(read.traits, trait.name)).all()


def test_a_population_in_which_nobody_teaches_is_refused() -> None:
    population = generate(PARAMETERS)
    tutors = population.platform["tutors"]
    left = {"active_status": np.zeros(PARAMETERS.tutors, dtype=np.int8)}
    population = replace(population, platform={**population.platform, "tutors": {**tutors, **left}})
    with pytest.raises(RefusedError, match="no tutor of this platform teaches any more"):
        cast_of_population(population, START)


def test_the_platform_holds_what_was_committed(warehouse: Warehouse, cast: Cast) -> None:
    plan = Plan(0, burst=150, poor_firsts=0.1, habits=RESTLESS)
    summary, done = run(warehouse, simulate(cast, plan, START), Clock())
    assert sorted(e.at for e in done) == [e.at for e in simulate(cast, plan, START)]
    assert summary.transactions == len(done)
    assert (summary.outages, summary.given_up) == (0, 0)
    assert_holds(warehouse, done)
    # A transaction that began early and was committed after others that began later.
    opening = [event for event in done if event.kind is Kind.SESSION]
    overtaken = [
        event
        for place, event in enumerate(opening)
        if any(earlier.at > event.at for earlier in opening[:place])
    ]
    assert all(event.held_for for event in overtaken)
    assert overtaken

    with warehouse.connect() as connection:
        strangers = connection.execute(
            "select count(*) from platform.sessions as s"
            " left join platform.students as p on p.user_id = s.student_id"
            " left join platform.users as u on u.id = s.student_id and u.role = 'student'"
            " left join platform.tutors as t on t.user_id = s.tutor_id"
            " where p is null or u is null or t is null"
        ).fetchone()
    assert strangers == (0,)


def test_doing_it_again_changes_nothing(warehouse: Warehouse, cast: Cast) -> None:
    plan = Plan(0, burst=20)
    events = [e for e in simulate(cast, plan, START) if e.kind is Kind.SESSION]
    run(warehouse, iter(events), Clock())
    before = table(warehouse, "sessions"), table(warehouse, "users")
    run(warehouse, iter(events), Clock())
    assert (table(warehouse, "sessions"), table(warehouse, "users")) == before


def test_a_database_that_is_away_costs_nothing(warehouse: Warehouse, cast: Cast) -> None:
    """It goes in mid-run, with transactions open, refuses connections for a while and returns."""
    name = warehouse.url.rsplit("/", 1)[1]
    admin = warehouse.url.removesuffix(name) + "postgres"

    def allow(is_allowed: bool) -> None:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(
                sql.SQL("alter database {} allow_connections {}").format(
                    sql.Identifier(name), sql.Literal(is_allowed)
                )
            )
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
                (name,),
            )

    went, back = [], []

    def come_and_go(clock: Clock) -> bool:
        if clock.now > 20 and not went:
            went.append(clock.now)
            allow(False)
        if clock.now > 45 and not back:
            back.append(clock.now)
            allow(True)
        return False

    told: list[str] = []
    plan = Plan(0, burst=150, habits=RESTLESS)
    try:
        summary, done = run(
            warehouse, simulate(cast, plan, START), Clock(come_and_go), tell=told.append
        )
    finally:
        allow(True)
    assert summary.outages == 1
    assert 20 < summary.away_seconds < 30
    assert "is away" in told[0]
    assert "is back" in told[1]
    assert sorted(e.at for e in done) == [e.at for e in simulate(cast, plan, START)]
    assert_holds(warehouse, done)


def test_told_to_stop_it_commits_what_is_open_and_says_the_truth(
    warehouse: Warehouse, cast: Cast
) -> None:
    plan = Plan(0, burst=100, habits=Habits(held=0.5))
    summary, done = run(warehouse, simulate(cast, plan, START), Clock(lambda clock: clock.now > 30))
    assert summary.transactions == len(done)
    began = list(takewhile(lambda event: event.at < 30, simulate(cast, plan, START)))
    assert {e.session_id for e in began} == {e.session_id for e in done}
    assert_holds(warehouse, done)


def test_it_ends_at_its_time(warehouse: Warehouse, cast: Cast) -> None:
    plan = Plan(1.0, habits=RESTLESS)
    _, done = run(warehouse, simulate(cast, plan, START), Clock(), until=60.0)
    wanted = list(takewhile(lambda event: event.at < 60, simulate(cast, plan, START)))
    assert sorted(e.at for e in done) == [e.at for e in wanted]


def test_other_errors_are_not_waited_for(warehouse: Warehouse, cast: Cast) -> None:
    gone = Warehouse(warehouse.url, Schemas(platform="nowhere"))
    with pytest.raises(psycopg.errors.UndefinedTable):
        run(gone, simulate(cast, Plan(1.0), START), Clock())


def test_platforms_of_others_and_empty_ones_are_refused(warehouse: Warehouse, cast: Cast) -> None:
    with warehouse.connect() as database:
        database.execute("create schema if not exists theirs")
        database.execute("create table if not exists theirs.tutors (user_id text)")
    for schema, says in (
        ("theirs", "a platform's own: nothing is ever written"),
        ("nowhere", "no platform yet"),
    ):
        other = Warehouse(warehouse.url, Schemas(platform=schema))
        with other.connect() as database, pytest.raises(RefusedError, match=says):
            read_cast(database, PARAMETERS, START)
    with warehouse.connect() as database:
        database.execute("update platform.tutors set active_status = false")
        with pytest.raises(RefusedError, match="no tutors to simulate"):
            read_cast(database, PARAMETERS, START)


@pytest.mark.parametrize(
    ("text", "found"),
    [("86400/day", 1), ("7200/h", 2), ("30/min", 0.5), ("2.5/s", 2.5), ("0", 0), ("0/h", 0)],
)
def test_rates(text: str, found: float) -> None:
    assert per_second(text) == found


@pytest.mark.parametrize("text", ["", "10", "ten/day", "-1/s", "10/week", "1e3/s", "10/", "/day"])
def test_wrong_rates_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write 10000/day, 500/h, 7/min, 2/s or 0"):
        per_second(text)


def test_durations() -> None:
    assert [seconds(text) for text in ("30s", "10m", "2h", "1d", "0.5h")] == [
        30, 600, 7200, 86_400, 1800,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "10", "0s", "-1m", "5 minutes", "1w"])
def test_wrong_durations_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write 30s, 10m, 2h or 1d"):
        seconds(text)


def test_a_log_line_says_what_when_and_of_whom(cast: Cast) -> None:
    moment = START + timedelta(seconds=1)
    lines = [
        (event, json.loads(log_line(event, moment)))
        for event in simulate(cast, Plan(0, burst=100, habits=RESTLESS), START)
    ]
    assert {line["kind"] for _, line in lines} == set(Kind)
    for event, line in lines:
        assert datetime.fromisoformat(line["committed_at"]) == moment
        assert (line["tutor_id"], line["session_id"]) == (event.tutor_id, event.session_id)
        assert line["tables"]


def test_a_delay_lies_between_its_bounds() -> None:
    drawn = Delay(2, 8, 30).draw(np.random.default_rng(7), 10_000)
    assert (drawn >= 2).all()
    assert drawn.max() == 30
    assert (drawn < 30).mean() > 0.98
