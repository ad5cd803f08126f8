"""Scores in the database: the newest of each day, replaced whole, never half."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tutor_pipeline.judgement.scores.score import Level, Reason, Score, Status, Subject, Target
from tutor_pipeline.judgement.scores.segments import Held
from tutor_pipeline.judgement.scores.storage import feature_log, score_tables, versions

MORNING = datetime(2026, 3, 2, 8, tzinfo=UTC)
NOON = MORNING + timedelta(hours=4)
NEXT_DAY = MORNING + timedelta(days=1)


@pytest.fixture(autouse=True)
def _empty(warehouse):
    yield
    with warehouse.connect() as database:
        score_tables.clear(database)
        database.execute("truncate {ops}.score_references, {ops}.model_versions")


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
    with warehouse.connect() as database:
        return score_tables.save(database, Subject.TUTOR, scores, as_of, scope)


def saved(warehouse):
    with warehouse.connect() as database:
        return database.execute(
            "select tutor_id, as_of, score, level from {ops}.tutor_scores order by as_of, tutor_id"
        ).fetchall()


def test_a_score_comes_back_as_it_was_given(warehouse):
    assert save(warehouse, [score("T1")], MORNING) == 1
    with warehouse.connect() as database:
        (row,) = database.rows("select * from {ops}.tutor_scores")
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
        "lower": None,
        "base_rate": None,
        "upper": None,
        "known_share": None,
        "not_known": [],
    }


FORECAST = {
    "scorer": "departure_v1",
    "version": "3.7",
    "target": Target.TUTOR_DEPARTURE,
    "is_probability": True,
    "lower": 0.02,
    "upper": 0.31,
    "known_share": 0.35,
    "not_known": ("logins", 'time "to" reply, ünd more'),
}


def test_how_sure_a_score_is_and_what_it_does_not_know_come_back(warehouse):
    little = {"level": None, "status": Status.LITTLE_KNOWN}
    save(warehouse, [score("T1", 0.12, **FORECAST | little)], MORNING)
    with warehouse.connect() as database:
        score_tables.publish_risk(
            database, ("departure_v1", Target.TUTOR_DEPARTURE, 30), MORNING, None
        )
        (row,) = database.rows("select * from {ops}.current_tutor_risk")
    names = ("version", "score", "level", "status", "lower", "upper", "known_share", "not_known")
    assert [row[name] for name in names] == [
        *("3.7", 0.12, None, "little_known", 0.02, 0.31, 0.35),
        ["logins", 'time "to" reply, ünd more'],
    ]


@pytest.mark.parametrize(
    "wrong",
    [{"lower": 0.4, "upper": 0.3}, {"lower": -0.1}, {"upper": 1.1}, {"known_share": 1.01}],
)
def test_an_impossible_interval_or_share_is_refused(warehouse, wrong):
    with pytest.raises(psycopg.errors.CheckViolation):
        save(warehouse, [score("T1", 0.12, **FORECAST | wrong)], MORNING)
    assert saved(warehouse) == []


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
    assert score_tables.day_of(warehouse, late).isoformat() == "2026-03-02"
    assert score_tables.day_of(replace(warehouse, timezone="Europe/Berlin"), late).isoformat() == (
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
    other = score("T1", 0.9, scorer="health_v1")
    save(warehouse, [score("T1"), score("T2"), other], MORNING)
    with warehouse.connect() as database:
        score_tables.publish_risk(database, champion, MORNING, None)
    save(warehouse, [score("T3", 0.6, Level.HIGH)], NOON, ["T2", "T3"])
    with warehouse.connect() as database:
        score_tables.publish_risk(database, champion, NOON, ["T2", "T3"])
        rows = database.execute(
            "select tutor_id, as_of, level, reasons -> 0 ->> 'n'"
            " from {ops}.current_tutor_risk order by tutor_id"
        ).fetchall()
    assert rows == [("T1", MORNING, "Low", "12"), ("T3", NOON, "High", "12")]


def test_segments_are_read_back(warehouse):
    rows = [
        {"tutor_id": "T1", "as_of": NOON, "segment": "star", "segment_since": MORNING},
        {"tutor_id": "T2", "as_of": NOON, "segment": None, "segment_since": None},
    ]
    with warehouse.connect() as database:
        score_tables.replace(database, "tutor_health", Subject.TUTOR, rows, None)
        held = score_tables.segments(database, Subject.TUTOR, None)
        assert held == {"T1": Held("star", MORNING)}
        assert score_tables.segments(database, Subject.TUTOR, ["T2"]) == {}


def test_held_levels_are_those_that_a_scorer_gave_last_above_low(warehouse):
    """Whoever the champion is, and whatever was said later of the moment that is made again."""
    scores = [
        score("T1", 0.6, Level.HIGH, **FORECAST),
        score("T2", 0.4, Level.MEDIUM, **FORECAST),
        score("T3", 0.1, Level.LOW, **FORECAST),
        score("T4", 0.1, None, **FORECAST | {"status": Status.LITTLE_KNOWN}),
    ]
    save(warehouse, scores, MORNING)
    with warehouse.connect() as database:
        held = [
            score_tables.held_levels(database, Subject.TUTOR, "departure_v1", MORNING, scope)
            for scope in (None, ["T2", "T3"], [])
        ]
        assert held == [{"T1": "High", "T2": "Medium"}, {"T2": "Medium"}, {}]
        assert score_tables.held_levels(database, Subject.TUTOR, "signals_v1", MORNING, None) == {}
    save(warehouse, [score("T1", 0.1, Level.LOW, **FORECAST)], NEXT_DAY, ["T1"])
    with warehouse.connect() as database:
        for as_of, who in ((MORNING, {"T1", "T2"}), (NEXT_DAY, {"T2"})):
            found = score_tables.held_levels(database, Subject.TUTOR, "departure_v1", as_of, None)
            assert found.keys() == who
        later = NEXT_DAY + timedelta(days=20)
        assert not score_tables.held_levels(database, Subject.TUTOR, "departure_v1", later, None)


REFERENCE = (
    "score_references",
    {
        "scorer": "departure_v1",
        "fitted_at": MORNING,
        "tutors": 3,
        "reference": {"mean": 0.1},
    },
)
VERSION = (
    "model_versions",
    {
        "scorer": "departure_v1",
        "target": "tutor_departure",
        "horizon_days": 30,
        "trained_at": MORNING,
        "rows": 0,
        "leavers": 0,
        "model": {"intercept": -3.5},
        "metrics": {},
        "is_promoted": True,
        "decision": "Nothing learned yet",
    },
)


def learned(warehouse, kind, as_of, **changes):
    table, values = kind
    with warehouse.connect() as database:
        version = versions.next_version(database, table)
        values = {"version": version, "as_of": as_of, **values, **changes}
        versions.add(database, table, values)


MOMENTS = (MORNING - timedelta(hours=1), NOON, NEXT_DAY)


def test_the_newest_reference_of_what_was_known_then(warehouse):
    for as_of in (MORNING, NEXT_DAY):
        learned(warehouse, REFERENCE, as_of)
    with warehouse.connect() as database:
        found = [versions.newest_reference(database, "departure_v1", as_of) for as_of in MOMENTS]
    assert [each and each.version for each in found] == [None, 1, 2]
    assert found[1] is not None
    assert found[1].content == {"mean": 0.1}


def test_the_newest_version_of_a_scorer_of_what_was_known_then(warehouse):
    learned(warehouse, VERSION, MORNING)
    learned(warehouse, VERSION, NOON, scorer="another")
    learned(warehouse, VERSION, NEXT_DAY)
    with warehouse.connect() as database:
        found = [versions.newest_model(database, "departure_v1", as_of) for as_of in MOMENTS]
    assert [each and each.version for each in found] == [None, 1, 3]
    assert found[1] is not None
    assert found[1].content == {"intercept": -3.5}


def test_a_scorer_that_forgets_begins_anew_and_keeps_its_history(warehouse):
    learned(warehouse, VERSION, MORNING)
    learned(warehouse, VERSION, MORNING, scorer="another")
    learned(warehouse, REFERENCE, MORNING)
    with warehouse.connect() as database:
        for _ in range(2):
            versions.forget_learned(database, "departure_v1", "another platform", NOON)
        assert versions.newest_reference(database, "departure_v1", NEXT_DAY) is None
        assert versions.newest_model(database, "departure_v1", NEXT_DAY) is None
        assert versions.newest_model(database, "another", NEXT_DAY) is not None
        told = database.execute(
            "select version, decision from {ops}.model_versions order by version"
        ).fetchall()
        assert told[-1] == (3, "another platform")
    learned(warehouse, VERSION, MORNING)
    with warehouse.connect() as database:
        found = versions.newest_model(database, "departure_v1", NOON)
        assert found is not None and found.version == 4


@pytest.mark.parametrize(
    "statement",
    [
        "update {ops}.model_versions set decision = ''",
        "delete from {ops}.model_versions",
        # One that nobody needs any more is deleted (see `warehouse.retention`).
        "update {ops}.score_references set tutors = 4",
    ],
)
def test_what_was_learned_is_never_changed(warehouse, statement):
    learned(warehouse, VERSION, MORNING)
    learned(warehouse, REFERENCE, MORNING)
    with (
        pytest.raises(psycopg.errors.RestrictViolation, match="never changed"),
        warehouse.connect() as database,
    ):
        database.execute(statement)


def test_a_column_is_logged_since_its_first_day(warehouse):
    with warehouse.connect() as database:
        for day, subject, columns in (
            (MORNING, "tutor", ["gap", "hours"]),
            (NEXT_DAY, "tutor", ["gap", "logins"]),
            (MORNING - timedelta(days=9), "student", ["gap"]),
        ):
            database.execute(
                "insert into {ops}.feature_log_days"
                " (subject, as_of_date, logged_at, definition, columns)"
                " values (%s, %s, %s, '', %s)",
                (subject, day.date(), day, columns),
            )
        assert feature_log.first_days(database, Subject.TUTOR) == {
            "gap": MORNING.date(), "hours": MORNING.date(), "logins": NEXT_DAY.date(),
        }  # fmt: skip
        assert feature_log.newest_day(database, Subject.TUTOR) == NEXT_DAY.date()
        database.rollback()
