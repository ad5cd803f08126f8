"""A row is a function of the set of events about it: whatever their order, in whatever batches,
however often each comes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.sources.events.merging import NEVER, Row, Version, packed, unpacked

NEEDED = ("start", "status")
COLUMNS = (*NEEDED, "note", "score")


@dataclass(frozen=True)
class Said:
    """What one event says of the row."""

    version: Version
    fields: Any = field(default_factory=dict)
    otherwise: Any = field(default_factory=dict)
    deletes: bool = False


@dataclass
class Table:
    """A table with one row at most, and what is known of it, as the database keeps both."""

    values: dict[str, Any] | None = None
    versions: Any = field(default_factory=list)
    deleted: Version = NEVER
    kept: dict[str, Any] | None = None
    waits: list[str] = field(default_factory=list)

    def apply(self, batch: Iterable[Said], held: Sequence[str] = ()) -> None:
        row = Row(
            is_there=self.values is not None,
            versions=unpacked(json.loads(json.dumps(self.versions))),
            deleted=self.deleted,
            was_deleted=self.deleted,
            kept=dict(self.kept or {}),
        )
        for each in batch:
            if each.deletes:
                row.delete(each.version)
            else:
                row.take(each.fields, each.otherwise, each.version)
        if row.is_to_be_recalled() or (held and row.is_there):
            row.recall({name: (self.values or {}).get(name) for name in COLUMNS})
        step, self.waits = row.settle(NEEDED, held)
        if step.deletes:
            assert self.values is not None
            self.values = None
        if step.inserts:
            assert self.values is None, "a row is inserted that is there"
            self.values = dict.fromkeys(COLUMNS) | dict(step.values)
        if step.updates:
            assert self.values is not None, "a row is changed that is not there"
            self.values |= step.values
        assert self.values is None or None not in (self.values[name] for name in NEEDED)
        self.versions, self.deleted = packed(row.versions), row.deleted
        self.kept = row.kept if row.kept or self.waits else None


def model(events: Sequence[Said]) -> dict[str, Any] | None:
    """The row that a set of events makes, said plainly."""
    deleted = max((each.version for each in events if each.deletes), default=NEVER)
    left = sorted(
        (each for each in events if not each.deletes and each.version > deleted),
        key=lambda each: each.version,
    )
    if not left:
        return None
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    for each in left:
        row |= each.otherwise
    said = {name for each in left for name in each.fields}
    row = {name: None if name in said else value for name, value in row.items()}
    for each in left:
        row |= each.fields
    return None if None in (row[name] for name in NEEDED) else row


# What a row must have is never said to be empty: reading refuses that.
VALUES = {name: st.integers(0, 3) for name in NEEDED} | {
    name: st.none() | st.integers(0, 3) for name in COLUMNS[2:]
}


@st.composite
def sets_of_events(draw: Any) -> list[Said]:
    """Few moments and ranks, so that events meet. Ids differ: an id is one event."""
    made = []
    for number in range(draw(st.integers(1, 7))):
        at = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 2)))
        rank = draw(st.sampled_from([0, 1, 4]))
        if draw(st.integers(0, 4)) == 0:
            made.append(Said(Version.of(at, 9, f"e{number}"), deletes=True))
            continue
        fields = draw(st.fixed_dictionaries({}, optional=VALUES))
        otherwise = {} if "start" in fields else draw(
            st.fixed_dictionaries({}, optional={"start": st.integers(10, 13)})
        )  # fmt: skip
        made.append(Said(Version.of(at, rank, f"e{number}"), fields, otherwise))
    return made


def in_batches(events: Sequence[Said], chance: random.Random) -> list[list[Said]]:
    """In any order, some of them again, cut anywhere."""
    order = [*events, *chance.sample(list(events), chance.randrange(len(events) + 1))]
    chance.shuffle(order)
    batches: list[list[Said]] = [[]]
    for each in order:
        if chance.random() < 0.5:
            batches.append([])
        batches[-1].append(each)
    return batches


@given(sets_of_events(), st.randoms(use_true_random=False))
def test_a_row_follows_from_the_set_of_its_events(
    events: list[Said], chance: random.Random
) -> None:
    table = Table()
    for batch in in_batches(events, chance):
        table.apply(batch)
    assert table.values == model(events)
    before = (table.values, table.versions, table.deleted, table.kept)
    table.apply(events)
    assert (table.values, table.versions, table.deleted, table.kept) == before


@given(sets_of_events(), st.randoms(use_true_random=False))
def test_so_it_does_when_what_it_names_comes_and_goes(
    events: list[Said], chance: random.Random
) -> None:
    """As a session of which the tutor is deleted, and told of anew."""
    table = Table()
    for batch in in_batches(events, chance):
        held = ["tutors/T1"] if chance.random() < 0.5 else []
        table.apply(batch, held)
        if held:
            assert table.values is None
    table.apply([])
    assert table.values == model(events)


@given(sets_of_events(), st.randoms(use_true_random=False))
def test_what_is_known_does_not_depend_on_the_order(
    events: list[Said], chance: random.Random
) -> None:
    """What waits is kept the same, so that what follows is the same."""
    seen = []
    for _ in range(2):
        table = Table()
        for batch in in_batches(events, chance):
            table.apply(batch)
        seen.append((table.values, table.versions, table.deleted, table.kept, sorted(table.waits)))
    assert seen[0] == seen[1]


@given(sets_of_events(), st.randoms(use_true_random=False))
def test_a_row_of_another_door_keeps_what_no_event_says(
    events: list[Said], chance: random.Random
) -> None:
    """Unless it is deleted. What is known by the way does not count beside it."""
    there = {"start": 7, "status": 8, "note": 9, "score": None}
    table = Table(values=dict(there))
    for batch in in_batches(events, chance):
        table.apply(batch)
    deleted = max((each.version for each in events if each.deletes), default=NEVER)
    if deleted == NEVER:
        expected: Any = dict(there)
        for each in sorted(events, key=lambda each: each.version):
            expected |= each.fields
        assert table.values == expected
    elif not [each for each in events if not each.deletes and each.version > deleted]:
        assert table.values is None


at = datetime(2026, 3, 2, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (Version.of(at, 9, "z"), Version.of(at + timedelta(microseconds=1), 0, "a")),
        (Version.of(at, 1, "z"), Version.of(at, 2, "a")),
        (Version.of(at, 1, "a"), Version.of(at, 1, "b")),
        (NEVER, Version.of(datetime(1900, 1, 1, tzinfo=UTC), 0, "")),
        # Nine and ten digits of a year's microseconds compare as texts, too.
        (Version.of(at.replace(microsecond=9), 0, "a"),
         Version.of(at.replace(microsecond=10), 0, "a")),
    ],
)  # fmt: skip
def test_the_later_version(earlier: Version, later: Version) -> None:
    assert earlier < later


def test_a_moment_has_one_version_in_every_zone() -> None:
    elsewhere = at.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert Version.of(at, 1, "a") == Version.of(elsewhere, 1, "a")
    assert Version.of(at, 1, "a").moment == at


VERSIONS = st.builds(
    Version.of,
    st.datetimes(datetime(1900, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC)),
    st.integers(0, 9),
    st.text(max_size=3),
)


@given(st.dictionaries(st.sampled_from(["", "~start", *COLUMNS]), VERSIONS))
def test_versions_are_kept_as_json(versions: dict[str, Version]) -> None:
    assert unpacked(json.loads(json.dumps(packed(versions)))) == versions


def test_a_deletion_counts_at_its_moment_and_a_newer_event_lifts_it() -> None:
    def said(rank: int, id_: str, seconds: int = 0, **fields: Any) -> Said:
        return Said(Version.of(at + timedelta(seconds=seconds), rank, id_), fields)

    table = Table()
    table.apply([said(4, "a", start=1, status=1, note=1)])
    table.apply([Said(Version.of(at, 9, "d"), deletes=True)])
    assert table.values is None
    table.apply([said(4, "b", start=2, status=2)])
    assert table.values is None, "of the same moment"
    table.apply([said(0, "c", 1, start=3)])
    assert (table.values, table.waits) == (None, ["status"])
    table.apply([said(0, "e", 2, status=3)])
    assert table.values == {"start": 3, "status": 3, "note": None, "score": None}
