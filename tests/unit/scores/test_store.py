"""Scores in the database: the newest of each day, replaced whole, never half."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tutor_pipeline.scores import store
from tutor_pipeline.scores.score import Level, Reason, Score, Status, Target
from tutor_pipeline.scores.store import Held, Subject

MORNING = datetime(2026, 3, 2, 8, tzinfo=UTC)
NOON = MORNING + timedelta(hours=4)
NEXT_DAY = MORNING + timedelta(days=1)


@pytest.fixture(autouse=True)
def _empty(warehouse):
    yield
    with warehouse.connect() as connection:
        store.clear(connection, warehouse)
        connection.execute(warehouse.sql("truncate {ops}.score_priors, {ops}.model_versions"))


def score(tutor, value=0.24, level=Level.LOW, **changes):
    reason = Reason("no_shows", 'Missed "3" of 12, ünd more', 3.0, 2.0, 12, 0.12)
    values = {
        "subject_id": tutor,
        "scorer": "signals_v1",
        "version": "1",
        "target": Target.TUTOR_RISK,
        "horizon_days": 30,
        "score": value,
        "is_probability": False,
        "level": level,
        "reasons": (reason,),
        "status": Status.OK,
        "input_hash": "0" * 64,
    }
    return Score(**{**values, **changes})


def save(warehouse, scores, as_of, scope=None):
    with warehouse.connect() as connection:
        return store.save(connection, warehouse, Subject.TUTOR, scores, as_of, scope)


def saved(warehouse):
    with warehouse.connect() as connection:
        return connection.execute(
            warehouse.sql(
                "select tutor_id, as_of, score, level from {ops}.tutor_scores"
                " order by as_of, tutor_id"
            )
        ).fetchall()


def test_a_score_comes_back_as_it_was_given(warehouse):
    assert save(warehouse, [score("T1")], MORNING) == 1
    with warehouse.connect() as connection:
        (row,) = store.rows_of(connection, warehouse.sql("select * from {ops}.tutor_scores"))
    assert row == {
        "tutor_id": "T1",
        "as_of": MORNING,
        "as_of_on": MORNING.date(),
        "scorer": "signals_v1",
        "version": "1",
        "target": "tutor_risk",
        "horizon_days": 30,
        "score": 0.24,
        "is_probability": False,
        "level": "Low",
        "reasons": [
            {
                "code": "no_shows",
                "label": 'Missed "3" of 12, ünd more',
                "value": 3.0,
                "reference": 2.0,
                "n": 12,
                "contribution": 0.12,
            }
        ],
        "status": "ok",
        "input_hash": "0" * 64,
    }


def test_of_each_day_the_newest_scores_stay(warehouse):
    save(warehouse, [score("T1"), score("T2")], MORNING)
    save(warehouse, [score("T1", 0.36, Level.MEDIUM)], NOON, ["T1"])
    save(warehouse, [score("T1", 0.12)], NEXT_DAY, ["T1"])
    assert saved(warehouse) == [
        ("T2", MORNING, 0.24, "Low"),
        ("T1", NOON, 0.36, "Medium"),
        ("T1", NEXT_DAY, 0.12, "Low"),
    ]


def test_who_is_covered_and_has_no_score_any_more_loses_those_of_the_day(warehouse):
    save(warehouse, [score("T1"), score("T2")], MORNING)
    save(warehouse, [], NOON, ["T1"])
    assert [row[0] for row in saved(warehouse)] == ["T2"]
    save(warehouse, [], NOON)
    assert saved(warehouse) == []


def test_the_day_is_one_of_the_pipelines_time_zone(warehouse):
    from dataclasses import replace

    late = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
    assert store.day_of(warehouse, late).isoformat() == "2026-03-02"
    assert store.day_of(replace(warehouse, timezone="Europe/Berlin"), late).isoformat() == (
        "2026-03-03"
    )


def test_a_raised_level_without_a_reason_is_refused(warehouse):
    with pytest.raises(psycopg.errors.CheckViolation):
        save(warehouse, [score("T1", 0.6, Level.HIGH, reasons=())], MORNING)
    with pytest.raises(psycopg.errors.CheckViolation):
        save(warehouse, [score("T1", 1.2, Level.LOW, is_probability=True)], MORNING)
    assert saved(warehouse) == []


def test_the_risk_of_those_covered_is_replaced(warehouse):
    champion = ("signals_v1", Target.TUTOR_RISK, 30)
    other = score("T1", 0.9, scorer="signals_v2")
    save(warehouse, [score("T1"), score("T2"), other], MORNING)
    with warehouse.connect() as connection:
        store.publish_risk(connection, warehouse, champion, MORNING, None)
    save(warehouse, [score("T3", 0.6, Level.HIGH)], NOON, ["T2", "T3"])
    with warehouse.connect() as connection:
        store.publish_risk(connection, warehouse, champion, NOON, ["T2", "T3"])
        rows = connection.execute(
            warehouse.sql(
                "select tutor_id, as_of, level, reasons -> 0 ->> 'n'"
                " from {ops}.current_tutor_risk order by tutor_id"
            )
        ).fetchall()
    assert rows == [("T1", MORNING, "Low", "12"), ("T3", NOON, "High", "12")]


def test_segments_are_read_back(warehouse):
    rows = [
        {"tutor_id": "T1", "as_of": NOON, "segment": "star", "segment_since": MORNING},
        {"tutor_id": "T2", "as_of": NOON, "segment": None, "segment_since": None},
    ]
    with warehouse.connect() as connection:
        store.replace(connection, warehouse, "tutor_health", Subject.TUTOR, rows, None)
        held = store.segments(connection, warehouse, Subject.TUTOR, None)
        assert held == {"T1": Held("star", MORNING)}
        assert store.segments(connection, warehouse, Subject.TUTOR, ["T2"]) == {}


def priors(warehouse, as_of):
    with warehouse.connect() as connection:
        version = store.next_version(connection, warehouse, "score_priors")
        store.add(
            connection,
            warehouse,
            "score_priors",
            {
                "version": version,
                "as_of": as_of,
                "fitted_at": as_of,
                "tutors": 3,
                "priors": {"mean": 0.1},
            },
        )


def test_the_newest_version_of_what_was_known_then(warehouse):
    for as_of in (MORNING, NEXT_DAY):
        priors(warehouse, as_of)
    with warehouse.connect() as connection:
        found = [
            store.newest_priors(connection, warehouse, as_of)
            for as_of in (MORNING - timedelta(hours=1), NOON, NEXT_DAY)
        ]
    assert [each and each.version for each in found] == [None, 1, 2]
    assert found[1] is not None
    assert found[1].content == {"mean": 0.1}


def test_what_was_learned_is_never_changed(warehouse):
    priors(warehouse, MORNING)
    for statement in ("update {ops}.score_priors set tutors = 4", "delete from {ops}.score_priors"):
        with (
            pytest.raises(psycopg.errors.RestrictViolation, match="never changed"),
            warehouse.connect() as connection,
        ):
            connection.execute(warehouse.sql(statement))
