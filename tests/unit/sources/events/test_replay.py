"""Faults of ours, mended: what they made of the platform is made good from the events kept."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import Databases
from tests.unit.sources.events.lives import (
    Event,
    apply,
    apply_somehow,
    clear,
    in_peace,
    life,
    outcomes,
    platform,
    states,
    store,
)
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.sources.events import applying, merging
from tutor_pipeline.sources.events.reading import Change, Reading, UnknownTypeError, read

NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def calm(databases: Databases) -> Warehouse:
    """Another platform, where no fault ever was."""
    made = Warehouse(databases.create())
    with made.connect() as database:
        ensure_platform(database)
    return made


@pytest.fixture(autouse=True)
def cleared(platform_warehouse: Warehouse, calm: Warehouse) -> None:
    clear(platform_warehouse)
    clear(calm)


Fault = Callable[[Reading], Reading]


def changing(change: Callable[[Change], Change]) -> Fault:
    return lambda reading: replace(reading, changes=tuple(map(change, reading.changes)))


def versions(change: Callable[[merging.Version], merging.Version]) -> Fault:
    return lambda reading: replace(reading, version=reading.version and change(reading.version))


def dropping(*columns: str) -> Fault:
    return changing(
        lambda each: replace(
            each,
            fields={name: value for name, value in each.fields.items() if name not in columns},
            otherwise={} if "otherwise" in columns else each.otherwise,
        )
    )


def moved(each: Change) -> Change:
    """Numbers and moments are read wrongly."""
    values = {
        name: value + 1 if isinstance(value, int) and not isinstance(value, bool) else
        value.replace("2026-", "2025-") if isinstance(value, str) else value
        for name, value in each.fields.items()
    }  # fmt: skip
    otherwise = {name: value.replace("2026-", "2025-") for name, value in each.otherwise.items()}
    return replace(each, fields=values, otherwise=otherwise)


def broken(_: Reading) -> Reading:
    raise ZeroDivisionError("a fault of ours")


def unknown(_: Reading) -> Reading:
    raise UnknownTypeError("a type that we forgot")


FAULTS: dict[str, Fault] = {
    "every rank is 0": versions(lambda each: each._replace(rank=0)),
    "ranks the wrong way round": versions(lambda each: each._replace(rank=9 - each.rank)),
    "the earlier event wins": versions(
        lambda each: each._replace(at="".join(
            chr(ord("0") + 9 - int(sign)) if sign.isdigit() else sign for sign in each.at)
        )
    ),
    "only ids count": versions(lambda each: each._replace(at="2026-03-02T00:00:00.000000")),
    "the start is forgotten": dropping("scheduled_start"),
    "the start by the way is forgotten": dropping("otherwise"),
    "the tutor is forgotten": dropping("tutor_id"),
    "the status is forgotten": dropping("status"),
    "words are forgotten": dropping("name", "feedback_text", "actual_duration"),
    "values are wrong": changing(moved),
    "a deletion is none": changing(lambda each: replace(each, deletes=False)),
    "everything is a deletion": changing(lambda each: replace(each, deletes=True)),
    "nothing is good enough": lambda reading: replace(
        reading, changes=(), reasons=("we_are_wrong",)
    ),
    "rows of the wrong table's name are left out": lambda reading: replace(
        reading, changes=tuple(each for each in reading.changes if each.table != "sessions")
    ),
    "everything breaks": broken,
    "every type is unknown": unknown,
}  # fmt: skip


@contextmanager
def in_force(
    monkeypatch: pytest.MonkeyPatch, fault: Fault, chance: random.Random, share: float = 1
) -> Iterator[None]:
    """Of this share of events a fault makes something else, the same each time."""
    hit: dict[str, bool] = {}

    def read_wrongly(body: Any, event_id: str, now: datetime) -> Reading:
        reading = read(body, event_id, now)
        if hit.setdefault(event_id, chance.random() < share):
            return fault(reading)
        return reading

    with monkeypatch.context() as patched:
        patched.setattr(applying, "read", read_wrongly)
        yield


def replay(warehouse: Warehouse, since: datetime | None = None) -> int:
    with warehouse.connect(autocommit=True) as database:
        return applying.replay(database, NOW, since=since)


def mended(
    platform_warehouse: Warehouse,
    calm: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    seed: int,
) -> None:
    chance = random.Random(f"{fault} {seed}")
    events = list(itertools.islice(life(chance, tutors=3, sessions=6, by_the_way=False), 60))
    in_peace(calm, events)
    with in_force(monkeypatch, FAULTS[fault], chance, chance.choice([0.3, 1])):
        apply_somehow(platform_warehouse, events, chance, NOW)
    assert replay(platform_warehouse) == len(events)
    assert states(platform_warehouse) == states(calm)
    assert platform(platform_warehouse) == platform(calm)
    # Again changes nothing.
    assert replay(platform_warehouse) == len(events)
    assert platform(platform_warehouse) == platform(calm)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_nothing_behind(
    platform_warehouse: Warehouse, calm: Warehouse, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    mended(platform_warehouse, calm, monkeypatch, fault, random.SystemRandom().randrange(10**6))


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_many_lives_with_a_fault(
    platform_warehouse: Warehouse, calm: Warehouse, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    for seed in range(25):
        clear(platform_warehouse)
        clear(calm)
        mended(platform_warehouse, calm, monkeypatch, fault, seed)


def at(hour: int) -> str:
    return f"2026-03-02T{hour:02}:00:00Z"


def event(id_: str, kind: str, hour: int, **data: Any) -> Event:
    return {"id": id_, "type": kind, "timestamp": at(hour), "data": data}


TUTOR = event("tutor", "tutor.updated", 0, tutor_id="T1", name="Ada")
HELD = event("held", "session.completed", 2, session_id="S1", tutor_id="T1", actual_start=at(1))
BY_THE_WAY = {
    "a wrong one": ([TUTOR, HELD], changing(moved)),
    "one that a deletion took away": (
        [TUTOR, event("gone", "session.deleted", 1, session_id="S1"), HELD],
        dropping("nothing"),
    ),
}


@pytest.mark.parametrize("what", BY_THE_WAY)
def test_a_start_that_is_known_by_the_way_is_mended(
    platform_warehouse: Warehouse, calm: Warehouse, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    events, fault = BY_THE_WAY[what]
    in_peace(calm, events)
    with in_force(monkeypatch, fault, random.Random(1)):
        in_peace(platform_warehouse, events)
    replay(platform_warehouse)
    assert platform(platform_warehouse) == platform(calm)
    assert states(platform_warehouse) == states(calm)


def test_a_row_of_a_wrong_name_is_mended(
    platform_warehouse: Warehouse, calm: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_peace(calm, [TUTOR])
    misnamed = changing(lambda each: replace(each, key=(f"{each.key[0]}-wrong", *each.key[1:])))
    with in_force(monkeypatch, misnamed, random.Random(1)):
        in_peace(platform_warehouse, [TUTOR])
    replay(platform_warehouse)
    assert platform(platform_warehouse) == platform(calm)


def test_what_other_doors_brought_stays(
    platform_warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with platform_warehouse.connect() as database:
        database.execute(
            "insert into {platform}.users (id, role, email) values ('T1', 'tutor', 'a@b')"
        )
        database.execute("insert into {platform}.tutors (user_id, hourly_rate) values ('T1', 30)")
        database.execute("insert into {platform}.students (user_id) values ('P1')")
    with in_force(monkeypatch, changing(moved), random.Random(1)):
        in_peace(platform_warehouse, [event("e", "tutor.updated", 1, tutor_id="T1", name="Ada",
                                            months_experience=5)])  # fmt: skip
    replay(platform_warehouse)
    found = platform(platform_warehouse)
    assert [(row["id"], row["email"], row["name"]) for row in found["users"]] == [
        ("T1", "a@b", "Ada")
    ]
    assert [(row["hourly_rate"], row["months_experience"]) for row in found["tutors"]] == [(30, 5)]
    assert [row["user_id"] for row in found["students"]] == ["P1"]


def test_only_what_was_received_since(
    platform_warehouse: Warehouse, calm: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that began at a moment is mended from there on."""
    chance = random.Random(7)
    events = list(itertools.islice(life(chance, tutors=3, sessions=6, by_the_way=False), 80))
    in_peace(calm, events)
    in_peace(platform_warehouse, events[:40])
    with platform_warehouse.connect() as database:
        began = database.value("select clock_timestamp()")
    with in_force(monkeypatch, FAULTS["words are forgotten"], chance):
        in_peace(platform_warehouse, events[40:])
    assert platform(platform_warehouse) != platform(calm)
    assert replay(platform_warehouse, began) == 40
    assert platform(platform_warehouse) == platform(calm)


def test_a_day_that_was_lost_is_sent_again(platform_warehouse: Warehouse, calm: Warehouse) -> None:
    """In any order, with others of other days, in one go or one by one."""
    chance = random.SystemRandom()
    events = sorted(
        itertools.islice(life(random.Random(chance.random())), 300),
        key=lambda each: each["timestamp"],
    )
    in_peace(calm, events)
    lost = events[100:160]
    in_peace(platform_warehouse, events[:100] + events[160:])
    again = lost + chance.sample(events, 50)
    chance.shuffle(again)
    while again:
        size = chance.choice([1, 3, 60])
        some, again = again[:size], again[size:]
        assert set(store(platform_warehouse, some)) <= {"accepted", "duplicate"}
        apply(platform_warehouse)
    assert outcomes(platform_warehouse) == outcomes(calm)
    assert platform(platform_warehouse) == platform(calm)
