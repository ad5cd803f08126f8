"""A life that is posted as events leaves the tables that the same life leaves when committed."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tutor_pipeline.cli.simulate_posted import Saying, history_of, play, send_history
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.sources.events import applying, inbox
from tutor_pipeline.sources.events.bodies import parse
from tutor_pipeline.sources.events.inbox import Incoming
from tutor_pipeline.sources.events.sending import Receipt, StoppedError
from tutor_pipeline.sources.synthetic import Parameters, generate, live_player
from tutor_pipeline.sources.synthetic.casting import cast_of_population
from tutor_pipeline.sources.synthetic.live_events import Event, Habits, Kind, Plan, Verb
from tutor_pipeline.sources.synthetic.live_simulation import simulate
from tutor_pipeline.sources.synthetic.load import load

POPULATION = generate(Parameters(end=date(2026, 11, 19), tutors=12, days=10))
START = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
RESTLESS = Habits(corrected=0.2, deleted=0.2, moved_to_tutor=0.2, moved_to_day=0.2, held=0.1)


def life(**plan: Any) -> list[Event]:
    cast = cast_of_population(POPULATION, START)
    return list(simulate(cast, Plan(0, **{"burst": 120, "habits": RESTLESS, **plan}), START))


def tables(warehouse: Warehouse) -> dict[str, list[str]]:
    with warehouse.connect() as database:
        names = database.execute(
            "select tablename from pg_tables where schemaname = 'platform' order by 1"
        ).fetchall()
        return {
            name: [
                row
                for (row,) in database.execute(
                    f"select to_jsonb(t)::text from platform.{name} as t order by 1"
                )
            ]
            for (name,) in names
        }


def apply(warehouse: Warehouse, events: Sequence[dict[str, Any]], limit: int) -> None:
    made = [Incoming("demo", each["id"], parse(json.dumps(each).encode())) for each in events]
    with warehouse.connect() as database:
        inbox.store(database, made)
    with warehouse.connect(autocommit=True) as database:
        while applying.apply_waiting(database, START + timedelta(days=1), limit).is_more:
            pass


def test_the_life_posted_is_the_life_committed(
    new_warehouse: Any, warehouse: Warehouse, chance: random.Random
) -> None:
    transactions = life()
    assert {each.kind for each in transactions} == set(Kind)
    with warehouse.connect() as database:
        load(database, POPULATION)
    now = 0.0

    def wait(seconds: float) -> bool:
        nonlocal now
        now += seconds
        return False

    live_player.play(warehouse, iter(transactions), wait=wait, clock=lambda: now)
    committed = tables(warehouse)

    other = new_warehouse()
    saying = Saying(START)
    events = [
        *history_of(POPULATION),
        *(e for each in transactions for e in saying.events_of(each)),
    ]
    chance.shuffle(events)
    apply(other, events, limit=700)
    posted = tables(other)
    for table, rows in committed.items():
        assert posted[table] == rows, table


@pytest.fixture
def chance() -> random.Random:
    return random.Random(11)


@pytest.fixture
def new_warehouse(databases: Any) -> Any:
    def make() -> Warehouse:
        warehouse = Warehouse(databases.create())
        with warehouse.connect() as database:
            ensure_platform(database)
        return warehouse

    return make


def test_the_past_is_said_alike_whenever_it_is_said() -> None:
    events = history_of(POPULATION)
    assert events == history_of(generate(POPULATION.parameters))
    moments = [datetime.fromisoformat(each["timestamp"]) for each in events]
    assert min(moments) >= datetime(2026, 11, 10, tzinfo=UTC)
    assert max(moments) < datetime(2026, 11, 20, tzinfo=UTC)


def test_an_update_has_the_type_of_the_sessions_status() -> None:
    saying, seen = Saying(START), Counter[tuple[str, str]]()
    statuses: dict[str, str] = {}
    for transaction in life(burst=400):
        for event in saying.events_of(transaction):
            if "session_id" in event["data"]:
                assert event["data"]["session_id"] == transaction.session_id
            assert datetime.fromisoformat(event["timestamp"]) == START + timedelta(
                seconds=transaction.at
            )
            if transaction.kind is Kind.MOVED_TO_TUTOR:
                assert event["type"] == statuses[transaction.session_id]
            if event["type"].startswith("session.") and "tutor_id" in event["data"]:
                statuses[transaction.session_id] = event["type"]
            seen[transaction.kind, event["type"]] += 1
    assert seen[Kind.DELETION, "session.deleted"]
    assert seen[Kind.CORRECTION, "session.completed"]
    assert seen[Kind.CORRECTION, "session.cancelled"]
    assert seen[Kind.MOVED_TO_DAY, "session.scheduled"]
    assert {kind for kind, type_ in seen if type_ == "session.metrics"} == {
        Kind.SESSION, Kind.METRICS,
    }  # fmt: skip


class Deaf:
    """In place of a sender: it takes everything until its patience ends."""

    def __init__(self, patience: int = 10_000) -> None:
        self.sent: list[str] = []
        self._patience = patience

    def send(self, event: dict[str, Any]) -> Receipt:
        if len(self.sent) == self._patience:
            raise StoppedError
        self.sent.append(event["id"])
        return Receipt(event["id"], "accepted", ("odd",) if len(self.sent) < 10 else ())

    def send_all(self, events: list[dict[str, Any]]) -> Iterator[list[Receipt]]:
        for start in range(0, len(events), 100):
            yield [self.send(each) for each in events[start : start + 100]]


def test_transactions_are_sent_in_the_order_in_which_they_end() -> None:
    transactions = life()
    waits: list[float] = []
    sent: list[Event] = []
    to: Any = Deaf()
    played = play(to, iter(transactions), START, until=None,
                  wait=lambda seconds: bool(waits.append(seconds)), sent=sent.append)  # fmt: skip
    ends = [each.at + each.held_for for each in sent]
    assert ends == sorted(ends)
    assert sorted(map(id, sent)) == sorted(map(id, transactions))
    assert played.transactions == len(transactions)
    assert played.told.statuses == {"accepted": len(to.sent)}
    assert len(played.told.problems) == 5
    assert len(waits) == len(transactions)
    for event in sent:
        assert any(write.verb in Verb for write in event.writes)


def test_it_ends_at_its_time_with_what_began_before() -> None:
    sent: list[Event] = []
    to: Any = Deaf()
    play(to, iter(life()), START, until=20, wait=lambda _: False, sent=sent.append)
    assert {id(e) for e in sent} == {id(e) for e in sent if e.at < 20}
    assert len(sent) == sum(each.at < 20 for each in life())


def test_told_to_stop_it_says_what_it_sent() -> None:
    to: Any = Deaf(patience=250)
    told = send_history(to, history_of(POPULATION), progress=print, is_stopped=lambda: False)
    assert told.statuses == {"accepted": 200}, "the batch in which it stopped is not answered"
    done: list[int] = []
    told = send_history(
        Deaf(),  # type: ignore[arg-type]
        history_of(POPULATION),
        progress=lambda _, each, of: done.append(each),
        is_stopped=lambda: len(done) == 3,
    )
    assert told.statuses == {"accepted": 300}
    to = Deaf(patience=10)
    played = play(to, iter(life()), START, until=None, wait=lambda _: False, sent=lambda _: None)
    assert played.given_up == 1
    assert played.transactions < 10
