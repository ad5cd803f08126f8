"""What is learned once a week goes to work where it should, and nowhere else: the real assets over
synthetic histories in which the answer is known.
"""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import dagster as dg
import numpy as np
import pytest
from psycopg import sql

from tests.unit.judgement.scores.departure.student_frames import people as student_people
from tests.unit.judgement.scores.frames import FIRST, made_up
from tests.unit.judgement.scores.test_refinement import CURRENT, OTHERS, platform
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, write_header
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.defs.learning import build_learning_assets
from tutor_pipeline.judgement.scores import health, tutor_scorers, weighted
from tutor_pipeline.judgement.scores.departure import learning, reference
from tutor_pipeline.judgement.scores.departure.forecast import ASKED_SILENCE_DAYS
from tutor_pipeline.judgement.scores.departure.learning import monthly
from tutor_pipeline.judgement.scores.departure.measures import columns_of
from tutor_pipeline.judgement.scores.departure.students import STUDENTS
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.departure.version import Version
from tutor_pipeline.judgement.scores.score import Status
from tutor_pipeline.judgement.scores.storage import churn_weights as stored_weights
from tutor_pipeline.judgement.scores.storage import versions
from tutor_pipeline.metrics.catalogue import metric_columns
from tutor_pipeline.people import incidents
from tutor_pipeline.steps.backtest_tutors import dates_to_test, read_past, run_backtest
from tutor_pipeline.steps.score import Scoring

LEARN, REFINE = build_learning_assets([], Scoring(tutor_scorers.AUTO, 0.25, 0.5))


@pytest.fixture(autouse=True)
def _environment(warehouse, tmp_path, monkeypatch):
    monkeypatch.setenv("TUTOR_HOME", str(tmp_path))
    monkeypatch.setenv("TUTOR_DATABASE_URL", warehouse.url)
    yield
    tables = "tutor_aggregates_history tutor_features_history tutor_evidence_history fct_sessions"
    tables += " tutor_departures student_aggregates_history student_evidence_history"
    tables += " dim_students dim_tutors"
    with warehouse.connect() as database:
        for table in tables.split():
            database.execute("drop table if exists {marts}." + table + " cascade")
        database.execute("drop table if exists {intermediate}.int_import_days")
        database.execute(
            "truncate {ops}.model_versions, {ops}.backtest_runs, {ops}.backtest_metrics,"
            " {ops}.churn_weight_history, {ops}.churn_algorithm_weights,"
            " {ops}.churn_weight_levels, {ops}.refresh_runs, {ops}.feature_log,"
            " {ops}.feature_log_days, {ops}.accepted_columns, {ops}.incidents, {ops}.outbox"
        )


def make(warehouse, table, rows, columns, schema="marts"):
    """A table with some columns: {name: type}; what a row lacks is NULL."""
    with warehouse.connect() as database, database.connection.cursor() as cursor:
        name = sql.Identifier(getattr(warehouse.schemas, schema), table)
        typed = [sql.SQL("{} " + kind).format(sql.Identifier(n)) for n, kind in columns.items()]
        cursor.execute(sql.SQL("create table {} ({})").format(name, sql.SQL(", ").join(typed)))
        with cursor.copy(sql.SQL("copy {} from stdin").format(name)) as copy:
            for row in rows:
                copy.write_row([row.get(column) for column in columns])


def history(warehouse, frames, recorded_late=None):
    """The tables of a back-test. `recorded_late`: (tutor, day) of a session whose feedback came
    ten days later.
    """
    keys = {"tutor_id": "text", "as_of_date": "date"}
    numbers = dict.fromkeys(tutor_scorers.READS, "double precision")
    rows = [row for day in frames.history.values() for row in day]
    known = metric_columns()
    for table, of in (
        ("tutor_aggregates_history", known["tutor_aggregates_history"]),
        ("tutor_features_history", known["tutor_features"]),
        ("tutor_evidence_history", TUTORS.reads),
    ):
        chosen = {name: kind for name, kind in numbers.items() if name in of and name not in keys}
        if table == "tutor_evidence_history":
            chosen["recorded_until"] = "timestamptz"
        asked = [
            row
            for row in rows
            if table != "tutor_evidence_history"
            or (row["days_since_completed"] or 99) <= ASKED_SILENCE_DAYS
        ]
        make(warehouse, table, asked, keys | chosen)
    make(
        warehouse,
        "int_import_days",
        [],
        {"recorded": "text", "created_on": "date"},
        "intermediate",
    )
    departures = [{"tutor_id": t, "departed_on": day} for t, day in frames.departures.items()]
    make(warehouse, "tutor_departures", departures, {"tutor_id": "text", "departed_on": "date"})
    tutor, day = recorded_late or ("T00000", FIRST - timedelta(days=40))
    sessions = [
        {"tutor_id": "T00000", "session_on": FIRST - timedelta(days=40), "status": "completed"},
        {
            "tutor_id": tutor,
            "session_on": day,
            "status": "completed",
            "feedback_submitted_at": datetime.combine(day, time(12), UTC) + timedelta(days=10),
        },
    ]
    moments = ("created_at", "audio_created_at", "feedback_submitted_at")
    columns = {"tutor_id": "text", "session_on": "date", "status": "text"}
    make(warehouse, "fct_sessions", sessions, columns | dict.fromkeys(moments, "timestamptz"))
    people = [
        {"tutor_id": row["tutor_id"], "is_active": row["tutor_id"] not in frames.departures}
        for row in frames.history[FIRST]
    ]
    make(warehouse, "dim_tutors", people, {"tutor_id": "text", "is_active": "boolean"})
    make(warehouse, "student_evidence_history", [], {"student_id": "text", "as_of_date": "date"})
    as_of = datetime.combine(frames.known_until + timedelta(days=1), time(12), UTC)
    refreshed(warehouse, as_of)
    return as_of


def refreshed(warehouse, as_of):
    """A full refresh that stands, and after it one of a tutor and one that failed."""
    write_header(warehouse, RefreshRun("refresh", as_of))
    with warehouse.connect() as database:
        database.execute("update {ops}.refresh_runs set built_at = started_at")
    write_header(warehouse, RefreshRun("pass", as_of + timedelta(days=40), ("T00001",)))
    write_header(warehouse, RefreshRun("failed", as_of + timedelta(days=40)))


def materialize(asset):
    result = dg.materialize([asset], resources={"warehouse": WarehouseResource()})
    return {
        event.asset_key.path[-1]: {
            name: entry.value for name, entry in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
    }


def newest(warehouse, as_of):
    """The newest version of departure_v1, and its row without it."""
    with warehouse.connect() as database:
        stored = versions.newest_model(database, TUTORS.scorer, as_of)
        assert stored is not None
        (row,) = database.rows(
            "select * from {ops}.model_versions where version = %(version)s",
            {"version": stored.version},
        )
    return Version.from_json(TUTORS, stored.content), row


def test_what_departures_teach_is_stored_and_scores_from_then_on(warehouse):
    frames = made_up(500, 40, seed=3, load=12.0, hazard=6.0)
    as_of = history(warehouse, frames)
    told = materialize(LEARN)
    assert told["model_versions"]["decision"].startswith("Learned from ")
    assert told["model_versions"]["departures"] > 20
    assert told["backtest_metrics"]["departure_auc_departure_v1"] > 0.6

    version, row = newest(warehouse, as_of)
    assert (row["version"], row["is_promoted"], row["as_of"]) == (1, True, as_of)
    assert (row["scorer"], row["target"], row["horizon_days"]) == (
        TUTORS.scorer,
        "tutor_departure",
        30,
    )
    assert (row["leavers"], row["rows"]) == (version.departures, version.learned_rows)
    assert row["leavers"] == told["model_versions"]["departures"] <= len(frames.departures)
    assert row["decision"] == told["model_versions"]["decision"]
    # What it won on departures that it had not seen stands beside it.
    assert row["metrics"]["auc"].keys() == {
        TUTORS.scorer,
        "departure_v1_priors",
        "departures_alone",
    }
    assert Version.from_json(TUTORS, version.to_json()) == version

    rows = [dict.fromkeys(tutor_scorers.READS) | row for row in frames.history[max(frames.history)]]
    usual = reference.fit(TUTORS, columns_of(rows, TUTORS.reads))
    forecaster = tutor_scorers.Forecaster("1.1", usual, version, {})
    said = tutor_scorers.score_tutors(rows, forecaster, tutor_scorers.AUTO)
    assert said.champion[0] == TUTORS.scorer
    assert {score.version for score in said.risk} == {"1.1"}
    assert all(score.is_probability for score in said.risk)
    assert {score.status for score in said.risk} == {Status.OK}
    # Who is named in the configuration stays it.
    assert tutor_scorers.score_tutors(rows, forecaster, "signals_v1").champion[0] == "signals_v1"
    # Before the day on which it was learned, nobody could have used it.
    with warehouse.connect() as database:
        earlier = as_of - timedelta(days=1)
        assert versions.newest_model(database, TUTORS.scorer, earlier) is None


def test_few_departures_teach_and_give_no_percentages(warehouse):
    frames = made_up(120, 20, seed=4)
    as_of = history(warehouse, frames)
    told = materialize(LEARN)
    assert "too few for percentages" in told["model_versions"]["decision"]
    version, _ = newest(warehouse, as_of)
    assert 0 < version.departures < 20
    assert not version.is_probability
    assert any(version.deviations)


def test_a_platform_that_cannot_say_who_left_teaches_nothing(warehouse):
    frames = replace(made_up(120, 20, seed=4), departures={})
    as_of = history(warehouse, frames)
    told = materialize(LEARN)
    assert told["model_versions"]["decision"] == (
        "Nothing learned: no departure is recorded. Documented weights, and 25% of the tutors"
        " leaving in a year"
    )
    version, row = newest(warehouse, as_of)
    assert (version.departures, version.learned_rows, row["leavers"]) == (0, 0, 0)
    assert not any(version.deviations)
    assert not version.is_probability
    # The intercept, least of all: the mean forecast is a month's share of 25 % a year.
    assert version.base_rate == pytest.approx(1 - 0.75 ** (30 / 365.25), abs=1e-4)


def test_before_any_week_has_matured_there_is_nothing_to_learn_from(warehouse):
    frames = made_up(60, 3, seed=2)
    history(warehouse, replace(frames, known_until=FIRST + timedelta(days=29)))
    told = materialize(LEARN)
    assert told["model_versions"]["decision"] == "Nothing to learn from: no past week has matured"
    with warehouse.connect() as database:
        assert database.rows("select * from {ops}.model_versions") == []


def test_without_history_it_says_so_and_learns_all_the_same(warehouse):
    frames = made_up(10, 1, seed=1)
    history(warehouse, frames)
    with warehouse.connect() as database:
        database.execute("truncate {marts}.tutor_aggregates_history")
    told = materialize(LEARN)
    assert told["backtest_metrics"]["decision"].startswith("nothing to test: no day of the history")
    assert told["model_versions"]["version"] == 1


def test_without_anything_of_the_past_it_says_so_and_does_not_fail(warehouse):
    history(warehouse, made_up(10, 1, seed=1))
    with warehouse.connect() as database:
        for table in ("tutor_aggregates_history", "tutor_evidence_history"):
            database.execute(f"truncate {{marts}}.{table}")
    told = materialize(LEARN)
    assert told["model_versions"]["decision"].startswith("nothing to test yet")


def test_what_was_recorded_after_it_would_be_used_is_left_out(warehouse):
    frames = made_up(20, 6, seed=2)
    days = sorted(frames.history)
    late = ("T00007", days[3])
    as_of = history(warehouse, frames, late)
    with warehouse.connect() as database:
        past = read_past(database, as_of, 52)
    assert past is not None
    # Known ten days later: of the weeks that hold the session, those up to then.
    without = {
        day for day, rows in past.history.items() if "T00007" not in {r["tutor_id"] for r in rows}
    }
    assert without == {days[3], days[4]}
    unasked = {week.day for week in past.weeks if "T00007" not in week.ids}
    assert unasked == without
    assert past.left_out == {"recorded_later": 2, "left_at_an_unknown_time": 0}
    assert (past.days, past.lost_days) == (len(past.history), None)


def test_a_back_test_of_few_days_says_that_an_import_is_why(warehouse):
    frames = made_up(20, 6, seed=2)
    as_of = history(warehouse, frames)
    days = sorted(frames.history)
    # What was said of every session came with a copy, a day after the last but one of the days.
    copied = datetime.combine(days[-2] + timedelta(days=3), time(), UTC)
    with warehouse.connect() as database:
        changed = database.execute(
            "insert into {marts}.fct_sessions (tutor_id, session_on, status, feedback_submitted_at)"
            " select distinct tutor_id, %s::date, 'completed', %s::timestamptz"
            " from {marts}.tutor_aggregates_history",
            (days[0] - timedelta(days=1), copied),
        ).rowcount
        past = read_past(database, as_of, 52)
    assert past is not None
    assert list(past.history) == [days[-1]]
    assert past.lost_days is not None
    assert past.lost_days.startswith(f"1 of {len(days)} days can be tested: the other days rest")
    assert f"Of {changed} sessions something was recorded on {copied.date()}" in past.lost_days
    result = run_backtest(past, 0.25, lambda *_: None)
    assert result.notes[0] == past.lost_days


def test_who_left_at_an_unknown_time_is_left_out(warehouse):
    frames = made_up(20, 6, seed=2)
    as_of = history(warehouse, frames)
    with warehouse.connect() as database:
        database.execute(
            "update {marts}.dim_tutors set is_active = false where tutor_id = %s",
            ("T00003",),
        )
        database.execute("delete from {marts}.tutor_departures where tutor_id = %s", ("T00003",))
        past = read_past(database, as_of, 52)
    assert past is not None
    assert past.left_out["left_at_an_unknown_time"] == len(past.history) > 0
    assert past.weeks
    assert all("T00003" not in week.ids for week in past.weeks)


def test_where_all_was_recorded_later_it_says_that(warehouse):
    frames = made_up(1, 1, seed=1)
    (day,) = frames.history
    history(warehouse, frames, ("T00000", day))
    with warehouse.connect() as database:
        for statement in (
            "delete from {marts}.tutor_departures",
            "update {marts}.dim_tutors set is_active = true",
        ):
            database.execute(statement)
    told = materialize(LEARN)
    said = told["model_versions"]["decision"]
    assert said.startswith("nothing to test: 0 of 1 day can be tested: the other days rest on what")
    assert "Of 1 session something was recorded on" in said


def test_each_learning_adds_a_version_and_the_newest_is_in_use(warehouse):
    as_of = history(warehouse, made_up(120, 20, seed=5))
    first = materialize(LEARN)["model_versions"]
    second = materialize(LEARN)["model_versions"]
    assert (first["version"], second["version"]) == (1, 2)
    assert newest(warehouse, as_of)[1]["version"] == 2
    with warehouse.connect() as database:
        stored = database.rows("select model from {ops}.model_versions order by version")
    # Of the same outcomes, the same.
    assert stored[0] == stored[1]


def test_a_session_of_an_import_was_there_before_it(warehouse):
    """Created on a day of an import, long after it took place: its rows are used all the same."""
    frames = made_up(20, 6, seed=2)
    as_of = history(warehouse, frames, ("T00007", sorted(frames.history)[3]))
    imported = as_of - timedelta(days=3)
    with warehouse.connect() as database:
        database.execute(
            "update {marts}.fct_sessions set created_at = %s, feedback_submitted_at = null"
            " where tutor_id = 'T00007'",
            (imported,),
        )
        late = read_past(database, as_of, 52)
        database.execute(
            "insert into {intermediate}.int_import_days values ('sessions', %s)",
            (imported.date(),),
        )
        past = read_past(database, as_of, 52)
    assert late is not None
    assert late.left_out["recorded_later"] > 0
    assert past is not None
    assert past.left_out["recorded_later"] == 0


def test_dates_are_a_week_apart_and_leave_out_the_warm_up():
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(60)]
    found = dates_to_test(days, days[0], 52)
    assert found == [date(2026, 2, 1) + timedelta(weeks=n) for n in range(5)]
    assert dates_to_test(days, days[0], 2) == found[-2:]
    assert dates_to_test(days[:20], days[0], 52) == []
    assert dates_to_test([], days[0], 52) == []


def students(warehouse, rows):
    last = {row["student_id"]: row["as_of_date"] for row in rows}
    left = {row["student_id"] for row in rows if row["has_churned"]}
    rows = [{**row, "is_churn_inferred": False} for row in rows]
    kinds = {
        **{"student_id": "text", "as_of_date": "date", "status": "text", "tutor_ids": "text[]"},
        "is_churn_inferred": "boolean",
    }
    numbers = dict.fromkeys(set(rows[0]) - set(kinds) - {"has_churned"}, "double precision")
    make(warehouse, "student_aggregates_history", rows, kinds | numbers)
    people = [
        {"student_id": s, "churned_date": day + timedelta(days=1) if s in left else None}
        for s, day in last.items()
    ]
    make(warehouse, "dim_students", people, {"student_id": "text", "churned_date": "date"})
    newest = max(last.values()) + timedelta(days=40)
    refreshed(warehouse, datetime.combine(newest, time(12), UTC))


def decisions(warehouse):
    with warehouse.connect() as database:
        return database.execute(
            "select decision, old_version, new_version from {ops}.churn_weight_history"
            " order by decision_id"
        ).fetchall()


def test_better_weights_become_a_version_and_are_then_kept(warehouse):
    students(warehouse, platform(1, OTHERS))
    told = materialize(REFINE)["churn_weight_history"]
    assert told["decision"] == "accepted", told["reason"]
    with warehouse.connect() as database:
        newest = stored_weights.current(database)
    assert newest is not None
    assert newest.version == 2
    assert sum(newest.weights.values()) == pytest.approx(1, abs=1e-6)
    assert newest.weights["scheduling_issues"] > CURRENT.weights["scheduling_issues"]
    # The same outcomes again: what is in force was fitted to them.
    materialize(REFINE)
    assert decisions(warehouse)[0] == ("accepted", 1, 2)
    assert decisions(warehouse)[1][1] == 2


def test_noise_changes_no_weight(warehouse):
    students(warehouse, platform(2, None, students=300, weeks=30))
    told = materialize(REFINE)["churn_weight_history"]
    assert told["decision"] == "refused"
    assert decisions(warehouse) == [("refused", 1, None)]


# Students ---------------------------------------------------------------------------------------

SUNDAYS = [date(2026, 1, 4) + timedelta(weeks=week) for week in range(20)]


def of_students(warehouse, leaves, dated=True, shown=0.6):
    """Twenty weeks of 120 students; `leaves` says of each number whether it leaves, some week.
    Of the weeks before that, such a share shows it; of the others one in twelve looks the same.
    """
    falling = np.array([leaves(number) for number in range(120)])
    rng = np.random.default_rng(3)
    last = np.where(falling, rng.integers(2, 19, 120), 99)
    rows = []
    for week, sunday in enumerate(SUNDAYS):
        is_near = (last - week >= 0) & (last - week < 4)
        shows = rng.random(120) < np.where(is_near, shown, (1 - shown) / 5)
        near = np.where(shows, 0.9, 0.0)
        columns = student_people(120, week, fall=near)
        for number in np.flatnonzero(week <= last):
            values = {name: column[number] for name, column in columns.items()}
            rows.append(
                {
                    "student_id": f"P{number:04d}",
                    "as_of_date": sunday,
                    **{name: None if np.isnan(value) else value for name, value in values.items()},
                }
            )
    keys = {"student_id": "text", "as_of_date": "date"}
    with warehouse.connect() as database:
        database.execute("drop table {marts}.student_evidence_history cascade")
    make(
        warehouse,
        "student_evidence_history",
        rows,
        keys | dict.fromkeys(STUDENTS.reads, "double precision"),
    )
    numbers = {*weighted.METRICS, *health.STUDENT_READS, "days_since_last_session"} - {"status"}
    aggregates = [
        {
            **{key: row[key] for key in keys},
            "status": "active",
            "days_since_last_session": row["days_since_completed"],
            "sessions_all": row["completed_all"],
            "sessions_completed_all": row["completed_all"],
            "avg_session_score_90d": row["score_28d"],
            "scored_sessions_90d": row["score_28d_n"],
        }
        for row in rows
    ]
    make(
        warehouse,
        "student_aggregates_history",
        aggregates,
        keys | {"status": "text"} | dict.fromkeys(numbers, "double precision"),
    )
    people = [
        {
            "student_id": f"P{number:04d}",
            "churned_date": SUNDAYS[last[number]] + timedelta(days=3)
            if falling[number] and dated
            else None,
        }
        for number in range(120)
    ]
    make(warehouse, "dim_students", people, {"student_id": "text", "churned_date": "date"})


def versions_of_students(warehouse):
    with warehouse.connect() as database:
        return database.rows(
            "select * from {ops}.model_versions where scorer = 'student_departure_v1'"
            " order by version"
        )


def test_what_students_who_left_teach_is_a_version_of_their_own(warehouse):
    as_of = history(warehouse, made_up(20, 22, seed=2))
    of_students(warehouse, lambda number: number % 2 == 0)
    told = materialize(LEARN)
    (row,) = versions_of_students(warehouse)
    assert (row["target"], row["is_promoted"], row["as_of"]) == ("student_departure", True, as_of)
    version = Version.from_json(STUDENTS, row["model"])
    assert version.departures == row["leavers"] > 20
    assert row["decision"] == told["model_versions"]["students_decision"]
    assert row["metrics"]["auc"].keys() == {
        *("student_departure_v1", "student_departure_v1_priors"),
        *("departures_alone", "gradient_boosting"),
    }
    with warehouse.connect() as database:
        metrics = database.rows(
            "select scorer, value, leavers from {ops}.backtest_metrics"
            " where target = 'student_departure' and metric = 'auc'"
        )
        newest = versions.newest_model(database, STUDENTS.scorer, as_of)
    figures = {row["scorer"]: row["value"] for row in metrics}
    assert figures.keys() == {
        *row["metrics"]["auc"],
        *("weighted_v1", "student_health_v1"),
    }
    assert figures["student_departure_v1"] > 0.65
    assert newest is not None
    assert newest.version == row["version"]


def test_a_forecast_of_students_that_is_too_good_waits_too(warehouse):
    """Every week before somebody leaves looks like it, and no other does: nobody sees so well."""
    as_of = history(warehouse, made_up(20, 22, seed=2))
    of_students(warehouse, lambda number: number % 2 == 0, shown=1.0)
    told = materialize(LEARN)["model_versions"]
    (row,) = versions_of_students(warehouse)
    assert not row["is_promoted"]
    assert told["students_held_back"]
    assert row["decision"].startswith("Held back: it predicts departures with an AUC of")
    with warehouse.connect() as database:
        open_ = {(i["kind"], i["subject"]) for i in incidents.listed(database)}
        assert versions.newest_model(database, STUDENTS.scorer, as_of) is None
        accepted = versions.accept(
            database, STUDENTS.scorer, row["version"], by="ada", why="it is",
            at=datetime.now(UTC))  # fmt: skip
    assert ("held_back", STUDENTS.scorer) in open_
    assert accepted.is_new


def test_a_column_of_students_that_knows_who_leaves_is_left_out(warehouse):
    history(warehouse, made_up(20, 22, seed=2))
    of_students(warehouse, lambda number: number % 2 == 0)
    with warehouse.connect() as database:
        database.execute(
            "update {marts}.student_evidence_history as evidence"
            " set booked_ahead = case when churned_date <= as_of_date + 31 then 0 else 4 end"
            " from {marts}.dim_students as students"
            " where students.student_id = evidence.student_id"
        )
    told = materialize(LEARN)["model_versions"]
    assert told["students_left_out"] == "booked_ahead"
    with warehouse.connect() as database:
        (incident,) = [each for each in incidents.listed(database) if each["kind"] == "leakage"]
    assert incident["subject"] == "booked_ahead of students"


def test_without_dated_departures_students_stay_at_the_priors(warehouse):
    history(warehouse, made_up(20, 22, seed=2))
    of_students(warehouse, lambda number: number % 2 == 0, dated=False)
    materialize(LEARN)
    (row,) = versions_of_students(warehouse)
    assert (row["leavers"], row["rows"], row["is_promoted"]) == (0, 0, True)
    assert row["decision"].startswith("Nothing learned: no departure is recorded")
    version = Version.from_json(STUDENTS, row["model"])
    assert version.base_rate == pytest.approx(monthly(0.5), rel=1e-3)


def test_a_version_that_silences_everybody_is_kept_and_not_used(warehouse, monkeypatch):
    as_of = history(warehouse, made_up(20, 22, seed=2))
    of_students(warehouse, lambda number: number % 2 == 0)
    materialize(LEARN)
    # Of which nobody's forecast is raised, however near to leaving.
    monkeypatch.setattr(learning, "RAISED_TIMES", 1e6)
    told = materialize(LEARN)["model_versions"]["students_decision"]
    assert told.startswith("Refused, as nobody would have been at Medium or High")
    first, second = versions_of_students(warehouse)
    assert (first["is_promoted"], second["is_promoted"]) == (True, False)
    assert second["decision"] == told
    with warehouse.connect() as database:
        newest = versions.newest_model(database, STUDENTS.scorer, as_of)
    assert newest is not None
    assert newest.version == first["version"]
