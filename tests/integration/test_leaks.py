"""A real weekly learning notices that somebody rewrote the past, leaves it out, and says so."""

from datetime import UTC, datetime, timedelta

import pytest


@pytest.fixture(scope="module")
def project(new_project):
    """Two weeks of learning, each a refresh and a back-test as of its own day."""
    project = new_project()
    project.run("generate", "--tutors", "80", "--days", "170", "--sessions-per-day", "40")
    today = datetime.now(UTC).date()
    for back in (9, 2):
        project.run("enrich", "--as-of", str(today - timedelta(days=back)))
        project.run("scores", "backtest", "--weeks", "2")
    return project


@pytest.mark.long
def test_a_rewritten_past_is_noticed_named_left_out_and_may_be_accepted(project):
    days = project.query(
        "select as_of_date, count(*) from ops.feature_log_days"
        " join ops.feature_log using (subject, as_of_date) group by 1 order by 1"
    )
    assert len(days) == 2
    assert days[1][0] - days[0][0] == timedelta(days=7)
    ((tutors, first),) = project.query(
        "select count(distinct tutor_id), min(as_of_date) from marts.tutor_evidence_history"
        " where as_of_date = %s",
        days[1][0],
    )
    assert days[1][1] == tutors > 60
    verified = project.query(
        "select decision from ops.model_versions where leavers > 0 and scorer = 'departure_v1'"
        " order by version"
    )
    assert len(verified) == 2
    assert verified[0][0].endswith("not yet verified (1 of 8 logged weeks)")
    assert verified[1][0].endswith("not yet verified (2 of 8 logged weeks)")
    assert project.json("incidents") == []

    # Somebody takes back bills of long ago, as if they had never been.
    project.execute(
        "update marts.fct_sessions set refunded_amount = billed_amount"
        f" where abs(hashtext(session_id)) % 5 = 0 and billed_at < date '{first}' - 35"
    )
    found = project.json("scores", "backtest", "--weeks", "2")
    assert (
        "left out: earnings, as earned_before had other values when it was new in"
        in (found["decisions"]["model"])
    )
    ((signals,),) = project.query(
        "select model -> 'signals' from ops.model_versions where scorer = 'departure_v1'"
        " order by version desc limit 1"
    )
    assert "earnings" not in signals
    (incident,) = project.json("incidents")
    assert (incident["kind"], incident["subject"]) == ("leakage", "earned_before")
    assert incident["details"]["days"] == [str(day) for day, _ in days]
    shown = project.run("incidents").stdout
    assert "earned_before may know the future" in shown
    assert " when it was new, " in shown

    unknown = project.run("scores", "accept", "usual_hours", "--by", "Ada", status=2).stderr
    assert "left out are earned_before" in unknown
    project.run("scores", "accept", "earned_before", "--by", "Ada", "--reason", "refunds of May")
    assert project.json("incidents") == []
    project.run("scores", "backtest", "--weeks", "2")
    ((signals, decision),) = project.query(
        "select model -> 'signals', decision from ops.model_versions"
        " where scorer = 'departure_v1' order by version desc limit 1"
    )
    assert "earnings" in signals
    assert "left out" not in decision
    assert (
        "there is no version 99 of departure_v1"
        in project.run("scores", "accept", "99", "--by", "Ada", status=2).stderr
    )
