"""Scores as people and rules meet them: made by a refresh, with reasons, never from the truth."""

import csv
import json
import re

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import built_moment
from tutor_pipeline.steps.backtest_tutors import read_past
from tutor_pipeline.steps.score import Scoring, score_students, score_tutors

pytestmark = pytest.mark.usefixtures("as_it_was")

SCORES = (
    "select tutor_id, scorer, version, target, horizon_days, score, level, reasons::text, status,"
    " input_hash, as_of from ops.tutor_scores order by 1, 2, 4, 5"
)
HEALTH = "select h::text from ops.tutor_health as h order by tutor_id"


@pytest.fixture(scope="module")
def project(new_project):
    project = new_project(TUTOR_CHAMPION="signals_v1")
    # The same people whatever the day is: who is at risk depends on the weekday that data ends on.
    project.run("generate", "--tutors", "60", "--days", "75", "--sessions-per-day", "60",
                "--end", "2026-06-24")  # fmt: skip
    project.run("enrich", "--as-of", "latest")
    return project


def test_every_scorer_says_something_of_every_tutor(project):
    scorers = {
        ("signals_v1", "tutor_risk", 30),
        ("departure_v1", "tutor_departure", 30),
        ("reliability_v1", "tutor_reliability", 30),
        ("health_v1", "tutor_burnout", 14),
        ("health_v1", "tutor_burnout", 30),
        ("health_v1", "session_velocity", 7),
        ("health_v1", "first_session_success", 30),
        ("health_v1", "health", 0),
    }
    ((tutors,),) = project.query("select count(*) from marts.tutor_aggregates")
    found = project.query(
        "select scorer, target, horizon_days, count(*) from ops.tutor_scores group by 1, 2, 3"
    )
    assert {row[:3]: row[3] for row in found} == dict.fromkeys(scorers, tutors)
    assert project.query("select count(*) from ops.current_tutor_risk") == [(tutors,)]
    assert project.query("select count(*) from ops.tutor_health") == [(tutors,)]
    assert project.query(
        "select count(*) from ops.student_scores where scorer = 'weighted_v1'"
    ) == project.query("select count(*) from marts.student_aggregates where status <> 'churned'")


def test_students_are_forecast_by_documented_weights_and_counted_for_their_tutors(project):
    ((leavers, decision),) = project.query(
        "select leavers, decision from ops.model_versions where scorer = 'student_departure_v1'"
    )
    assert leavers == 0
    assert "50% of the students leaving in a year" in decision
    forecasts = project.query(
        "select student_id, level, target, is_probability, lower <= score and score <= upper"
        " from ops.student_scores where scorer = 'student_departure_v1'"
    )
    asked = project.query("select student_id from marts.student_evidence")
    assert {row[0] for row in forecasts} == {student for (student,) in asked}
    assert {row[2:] for row in forecasts} == {("student_departure", False, True)}
    high = {student for student, level, *_ in forecasts if level == "High"}
    named = project.query("select student_ids from ops.tutor_student_churn")
    assert {student for (students,) in named for student in students} == high
    # Every student of 90 days who has not left is counted.
    assert project.query(
        "select tutor_id, count(*)::integer from marts.student_aggregates"
        " cross join unnest(tutor_ids) as tutor_id where status is distinct from 'churned'"
        " group by 1 order by 1"
    ) == project.query("select tutor_id, students from ops.tutor_student_churn order by 1")


def test_what_is_raised_has_reasons_with_values_and_contributions(project):
    rows = project.query(
        "select reason from ops.tutor_scores"
        " cross join jsonb_array_elements(reasons) as reason where level in ('Medium', 'High')"
    )
    assert rows
    for (reason,) in rows:
        assert reason.keys() == {"code", "label", "value", "reference", "n", "contribution"}
        assert reason["label"]
    nothing = project.query(
        "select count(*) from ops.tutor_scores where level <> 'Low' and not exists ("
        " select from jsonb_array_elements(reasons) as reason"
        " where (reason ->> 'contribution')::float > 0)"
    )
    assert nothing == [(0,)]


def test_before_anything_is_learned_the_forecast_ranks_by_documented_weights(project):
    ((version, leavers, is_promoted, decision),) = project.query(
        "select version, leavers, is_promoted, decision from ops.model_versions"
        " where scorer = 'departure_v1'"
    )
    assert (leavers, is_promoted) == (0, True)
    assert decision.startswith("Nothing learned yet: documented weights, and 25%")
    ((reference, tutors),) = project.query(
        "select version, tutors from ops.score_references where scorer = 'departure_v1'"
    )
    forecasts = project.query(
        "select version, is_probability, status, level, score, lower, upper, known_share"
        " from ops.tutor_scores where scorer = 'departure_v1'"
    )
    assert len(forecasts) == tutors
    assert {row[0] for row in forecasts} == {f"{version}.{reference}"}
    assert not any(row[1] for row in forecasts)
    for _, _, status, level, score, lower, upper, known_share in forecasts:
        assert 0 <= lower <= score <= upper <= 1
        assert status == ("ok" if known_share >= 0.4 else "little_known")
        assert level in ({"Low", "Medium", "High"} if status == "ok" else {None, "Medium", "High"})
    assert ("ok",) in {row[2:3] for row in forecasts}


def test_the_same_input_gives_the_same_bytes(project):
    learned = (
        "select scorer, r.version, m.version from ops.score_references as r"
        " inner join ops.model_versions as m using (scorer) order by scorer"
    )
    before = project.query(SCORES), project.query(HEALTH)
    versions = project.query(learned)
    outcome = project.json("enrich", "--only", "scores")
    assert (project.query(SCORES), project.query(HEALTH)) == before
    # Nothing new is usual, and nothing was learned.
    assert project.query(learned) == versions
    assert {scorer for scorer, *_ in versions} == {"departure_v1", "student_departure_v1"}
    assert outcome["tutor_scores"]["tutors"] == len(before[1])
    assert sum(outcome["student_health"].values()) > outcome["student_health"]["students"]


def test_a_high_level_of_the_champion_is_an_alert_with_the_reasons(project):
    high = project.query(
        "select tutor_id from ops.current_tutor_risk where level = 'High' order by tutor_id"
    )
    assert high, "the population has somebody whom signals_v1 calls High"
    alerts = project.query(
        "select tutor_id, description from ops.alerts"
        " where alert_type = 'high_churn_risk' and resolved_at is null order by tutor_id"
    )
    assert [(tutor,) for tutor, _ in alerts] == high
    assert all(
        re.fullmatch(r"Strong signs of leaving within 30 days: .+\.", text) for _, text in alerts
    )


def test_a_tutors_page_says_why(project):
    ((tutor, label),) = project.query(
        "select tutor_id, reasons -> 0 ->> 'label' from ops.current_tutor_risk"
        " where level = 'High' order by tutor_id limit 1"
    )
    shown = project.run("tutor", tutor).stdout
    assert "Risk of leaving: High" in shown
    assert label in shown
    others = shown.partition("All scores")[2]
    assert others
    assert "its weight is shared out" not in others  # what is unknown is told of the risk alone
    facts = project.json("tutor", tutor)
    assert facts["risk"]["level"] == "High"
    assert len(facts["scores"]) == 8


def test_the_forecast_as_champion_gives_the_same_bytes_again_and_keeps_its_levels(project):
    risk = (
        "select tutor_id, scorer, version, score, level, status, lower, upper, known_share,"
        " not_known::text from ops.current_tutor_risk order by tutor_id"
    )
    project.settings["TUTOR_CHAMPION"] = "auto"
    try:
        project.run("enrich", "--only", "scores")
        before = project.query(SCORES), project.query(risk)
        assert {row[1] for row in before[1]} == {"departure_v1"}
        raised = {row[4] for row in before[1]} & {"Medium", "High"}
        assert raised, "the population has somebody who is above Low"
        project.run("enrich", "--only", "scores")
        assert (project.query(SCORES), project.query(risk)) == before
    finally:
        project.settings["TUTOR_CHAMPION"] = "signals_v1"
        project.run("enrich", "--only", "scores")


@pytest.mark.long
def test_nothing_is_scored_of_tables_that_break_a_rule(project):
    before = project.query(SCORES)
    project.execute("create table marts.kept as select * from marts.tutor_aggregates")
    project.execute("update marts.tutor_aggregates set avg_rating_30d = 7")
    project.run("validate", "--run", status=1)
    result = project.run("enrich", "--only", "scores", status=3)
    assert "was not derived: checks of what it reads do not hold" in result.stderr
    assert project.query(SCORES) == before
    project.run("enrich", "--only", "scores", "--force", "--by", "Ada")
    assert project.query("select count(*) > 0 from ops.dq_overrides where forced_by = 'Ada'") == [
        (True,)
    ]
    project.execute(
        "update marts.tutor_aggregates as wide set avg_rating_30d = kept.avg_rating_30d"
        " from marts.kept where wide.tutor_id = kept.tutor_id; drop table marts.kept"
    )
    project.run("validate", "--run")
    project.run("enrich", "--only", "scores")
    assert project.query(SCORES) == before


def test_export_has_the_columns_that_csv_users_know(project, tmp_path):
    folder = tmp_path / "a folder" / "out"
    project.run("export", str(folder))
    written = project.json("export", str(folder))
    assert set(written) == {
        "tutor_aggregates.csv",
        "alerts.csv",
        "insights.csv",
        "achievements.csv",
    }
    with (folder / "tutor_aggregates.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (
        list(rows[0])
        == (
            "tutor_id total_sessions_30d total_sessions_7d avg_rating_30d avg_rating_7d"
            " avg_engagement_score avg_empathy_score avg_clarity_score avg_student_satisfaction"
            " first_session_count first_session_avg_rating poor_first_session_flag"
            " recommendation_rate technical_issue_rate sentiment_trend_7d churn_probability"
            " churn_risk_level churn_signals_detected"
        ).split()
    )
    scored = {
        tutor: (score, level)
        for tutor, score, level in project.query(
            "select tutor_id, score, level from ops.tutor_scores where scorer = 'signals_v1'"
        )
    }
    assert {
        row["tutor_id"]: (float(row["churn_probability"]), row["churn_risk_level"]) for row in rows
    } == scored
    assert written["tutor_aggregates.csv"] == len(rows)
    assert all(
        round(float(row["churn_probability"]) / 0.12) == int(row["churn_signals_detected"])
        for row in rows
    ), "the points behind the score"
    assert {row["poor_first_session_flag"] for row in rows} <= {"True", "False", ""}
    assert not list(folder.glob("*.part"))
    file = tmp_path / "file"
    file.touch()
    assert "is a file" in project.run("export", str(file), status=2).stderr


@pytest.fixture
def backtest(project, as_it_was):
    """What the back-test of four weeks says. It leaves history, and perhaps a learned version."""
    return project.json("scores", "backtest", "--weeks", "4")


def test_a_backtest_holds_every_scorer_against_what_happened(project, backtest):
    found = backtest
    by_target = {}
    for row in found["metrics"]:
        by_target.setdefault(row["target"], set()).add(row["scorer"])
    # The window of a departure has not passed for the newest days.
    assert by_target["state"] >= {
        *("departure_v1", "departure_v1_priors", "signals_v1", "reliability_v1", "health_v1"),
        "oracle",
    }
    assert re.match(r"Learned from \d+ departures|Nothing learned: ", found["decisions"]["model"])
    page = (project.home / "reports" / "backtest.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert "<script" not in page
    stored = project.query("select dates, report_html from ops.backtest_runs")
    assert [(dates, len(html)) for dates, html in stored] == [(4, len(page))]
    decided = project.query("select decision, reason, old_version from ops.churn_weight_history")
    assert [row[0] for row in decided] == ["refused"]
    assert project.query("select count(*) from ops.churn_algorithm_weights") == [(7,)]

    again = project.json("scores", "backtest", "--weeks", "4")
    assert json.dumps(again["metrics"]).replace(again["metrics"][0]["run_id"], "") == json.dumps(
        found["metrics"]
    ).replace(found["metrics"][0]["run_id"], "")

    # Each stores what is learned, the same of the same past, and the next scores are by it.
    versions = project.query(
        "select version, model, is_promoted from ops.model_versions"
        " where scorer = 'departure_v1' order by 1"
    )
    assert [is_promoted for *_, is_promoted in versions] == [True] * 3
    assert versions[1][1] == versions[2][1] != versions[0][1]
    project.run("enrich", "--only", "scores")
    ((used,),) = project.query(
        "select distinct version from ops.tutor_scores where scorer = 'departure_v1'"
    )
    assert used.partition(".")[0] == str(versions[2][0])


@pytest.mark.usefixtures("backtest")
def test_no_scorer_needs_or_reads_the_truth(project):
    """As a role that may read everything but the truth: it scores, and the truth is denied."""
    role = "scorer_without_truth"
    with psycopg.connect(project.url, autocommit=True) as connection:
        connection.execute(f"drop role if exists {role}")
        connection.execute(f"create role {role} login password 'scorer'")
        for schema in ("platform", "staging", "intermediate", "marts", "ops"):
            connection.execute(f"grant usage on schema {schema} to {role}")
            connection.execute(f"grant select on all tables in schema {schema} to {role}")
        connection.execute(f"grant insert, delete on all tables in schema ops to {role}")
    warehouse = Warehouse(make_conninfo(project.url, user=role, password="scorer"))
    try:
        with warehouse.connect() as connection:
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                connection.transaction(),
            ):
                connection.execute("select count(*) from truth.tutor_days")
            assert score_tutors(connection, "", Scoring("auto", 0.25, 0.5)).subjects
            assert score_students(connection, "", Scoring("auto", 0.25, 0.5)).subjects
            past = read_past(connection, built_moment(connection), 4)
            assert past is not None
            assert past.history
            assert not past.at_risk
            connection.rollback()
    finally:
        with psycopg.connect(project.url, autocommit=True) as connection:
            name = sql.Identifier(role)
            connection.execute(sql.SQL("drop owned by {}").format(name))
            connection.execute(sql.SQL("drop role {}").format(name))


def cover(connection, tutors):
    """Make the header of a run that covers some tutors; its id."""
    connection.execute(
        "insert into ops.refresh_runs (run_id, as_of, is_full) select 'some', max(as_of), false"
        " from marts.tutor_aggregates"
    )
    connection.execute(
        "insert into ops.refresh_scope (run_id, as_of, tutor_id) select 'some', as_of, tutor"
        " from ops.refresh_runs, unnest(%s::text[]) as tutor where run_id = 'some'",
        (tutors,),
    )
    return "some"


def test_a_tutor_scored_alone_is_scored_as_among_all(project):
    """What is usual is read by who covers some, also where it would be otherwise by now."""
    scores = "select s::text from ops.tutor_scores as s order by tutor_id, scorer, target, 1"
    with project.warehouse.connect() as connection:
        run = cover(connection, ["T0001", "T0002"])
        connection.execute(
            "update marts.tutor_aggregates set sessions_14d = 0"
            " where tutor_id not in ('T0001', 'T0002')"
        )
        connection.execute(
            "update marts.tutor_features set available_hours_this_week = 99,"
            " sessions_taught_14d = 0 where tutor_id not in ('T0001', 'T0002')"
        )
        before = connection.execute(scores).fetchall(), connection.execute(HEALTH).fetchall()
        score_tutors(connection, run, Scoring("signals_v1", 0.25, 0.5))
        after = connection.execute(scores).fetchall(), connection.execute(HEALTH).fetchall()
        assert after == before
        # A full one does see it.
        score_tutors(connection, "", Scoring("signals_v1", 0.25, 0.5))
        assert connection.execute(scores).fetchall() != before[0]
        connection.rollback()


def test_a_reference_from_before_health_read_it_is_read_and_completed(project):
    """The first refresh after an update may well cover some tutors."""
    newest = (
        "select version, reference from ops.score_references where scorer = 'departure_v1'"
        " order by version desc limit 1"
    )
    with project.warehouse.connect() as connection:
        version, content = connection.execute(newest).fetchone()
        (last,) = connection.execute("select max(version) from ops.score_references").fetchone()
        connection.execute(
            "insert into ops.score_references"
            " (version, scorer, as_of, fitted_at, tutors, reference)"
            " select %s, scorer, as_of, fitted_at, tutors, reference - 'health'"
            " from ops.score_references where version = %s",
            (last + 1, version),
        )
        run = cover(connection, ["T0001"])
        for _ in range(2):  # the second time there is nothing new
            score_tutors(connection, run, Scoring("signals_v1", 0.25, 0.5))
            assert connection.execute(newest).fetchone() == (last + 2, content)
        connection.rollback()


def test_clear_removes_scores_and_enrich_makes_them_again(project):
    before = project.query("select count(*) from ops.tutor_scores")
    project.run("clear", "--yes")
    for table in ("tutor_scores", "current_tutor_risk", "tutor_health", "student_scores"):
        assert project.query(f"select count(*) from ops.{table}") == [(0,)]
    project.run("enrich", "--only", "scores")
    assert project.query("select count(*) from ops.tutor_scores") == before
