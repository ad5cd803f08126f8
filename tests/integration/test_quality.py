"""What a check that fails does to a refresh: through the command, on real runs."""

import json

import pytest

SCORED = {
    *("ops/score_references", "ops/tutor_scores", "ops/current_tutor_risk", "ops/tutor_health"),
    *("ops/student_scores", "ops/tutor_student_churn", "ops/student_health"),
}
MADE = ("ops/achievements", "ops/alerts", "ops/tutor_insights")


@pytest.fixture(scope="module")
def enriched(project):
    """A sound platform, refreshed once."""
    project.run("generate", "--seed", "7", "--mode", "dev")
    outcome = project.json("enrich")
    assert outcome["blocking"] == {}
    return project


@pytest.fixture
def break_(enriched):
    """Change the platform or a table by SQL, and back at the end of the test."""
    undo = []

    def change(sql, back):
        undo.append(back)
        enriched.execute(sql)

    yield change
    for statement in undo:
        enriched.execute(statement)


def one_in(share):
    """A condition that so many sessions meet."""
    return f"abs(hashtext(session_id)) % 1000 < {10 * share}"


def break_ratings(break_, percent):
    """So many in a hundred sessions get a rating that no student can give."""
    break_(
        "create table ops.ratings_before as select * from platform.session_feedback;"
        " update platform.session_feedback set student_satisfaction_rating = 50"
        f" where {one_in(percent)}",
        "update platform.session_feedback as changed"
        " set student_satisfaction_rating = kept.student_satisfaction_rating"
        " from ops.ratings_before as kept where kept.session_id = changed.session_id;"
        " drop table ops.ratings_before",
    )


def confirmed_at(project):
    return project.query("select max(last_confirmed_at) from ops.alerts")


def verdict(project, status):
    """The first line of `validate`, and the report as one document."""
    text = project.run("validate", status=status).stdout.splitlines()[0]
    return text, project.json("validate", status=status)


def test_every_outcome_of_a_run_is_kept_and_reported(enriched):
    rows = enriched.query(
        "select owner, count(*), count(*) filter (where status = 'passed') from ops.dq_results"
        " where run_id = (select run_id from ops.dq_results order by evaluated_at desc limit 1)"
        " group by owner order by owner"
    )
    assert [owner for owner, _, _ in rows] == ["dbt", "pipeline", "suite"]
    # On some days a generated tutor talks more than is usual: a warning, no fault of the report.
    all_hold = all(checks == passed for _, checks, passed in rows)
    (report,) = enriched.query("select verdict, file from ops.validation_reports")
    assert report[0] != "blocked"
    page = (enriched.home / "reports" / "validation" / report[1]).read_text()
    assert page == (enriched.home / "reports" / "validation" / "validation.html").read_text()
    coverage = enriched.query("select count(*), min(tutors) from ops.rule_coverage")
    assert coverage[0][0] > 20
    first_line, _ = verdict(enriched, 0)
    assert first_line.startswith("Sound") == all_hold, first_line


def test_a_blocking_check_stops_findings_in_this_run_and_the_next(enriched, break_):
    break_ratings(break_, percent=8)
    before = confirmed_at(enriched)

    outcome = enriched.json("enrich", status=1)
    left_out = {key for key in outcome["left_out"] if key.startswith("ops/")}
    assert left_out == {*MADE, *SCORED, "ops/session_ledger"}
    assert list(outcome["blocking"]) == ["ops/quarantine: at_most_2_percent_wait"]

    # In a run of its own nothing of the first one is known to Dagster: the guard knows.
    for only in ("alerts", "achievements"):
        refused = enriched.run("enrich", "--only", only, status=3)
        assert "At most 2 % of the incoming sessions wait in quarantine" in refused.stderr
        assert "--force" in refused.stderr
    assert confirmed_at(enriched) == before

    # The bad rows are set aside, all of them and only they.
    ((waiting,),) = enriched.query(
        "select count(*) from ops.quarantine where resolved_at is null"
        " and reasons = '{student_satisfaction_rating_out_of_range}'"
    )
    ((bad,),) = enriched.query(
        "select count(*) from platform.session_feedback where student_satisfaction_rating = 50"
    )
    assert waiting == bad > 0
    line, report = verdict(enriched, 1)
    assert line.startswith("Blocked")
    assert report["verdict"]["level"] == "blocked"
    ((last,),) = enriched.query(
        "select verdict from ops.validation_reports order by made_at desc limit 1"
    )
    assert last == "blocked"

    # Who goes on all the same is on record, for just what was made.
    enriched.run("enrich", "--only", "alerts", "--force", "--by", "bob")
    assert confirmed_at(enriched) > before
    ((asset, by, objections),) = enriched.query(
        "select asset, forced_by, objections from ops.dq_overrides"
    )
    assert (asset, by) == ("ops/alerts", "bob")
    assert "at_most_2_percent_wait" in " ".join(objections)


def test_a_warning_never_blocks_and_the_next_clean_run_clears_all(enriched, break_):
    break_ratings(break_, percent=1)
    outcome = enriched.json("enrich")
    assert outcome["left_out"] == []
    assert "ops/quarantine: nothing_waits" in outcome["failed_checks"]
    assert "staging/session_rows: rating_lies_in_1_to_5" in outcome["failed_checks"]
    assert "do not hold (" in verdict(enriched, 0)[0]


@pytest.mark.long
def test_what_cannot_be_evaluated_blocks_where_it_blocks_and_can_be_forced(enriched, break_):
    break_(
        "create function ops.spoil() returns trigger language plpgsql as $$ begin new.reasons ="
        """ '[{"code": "rating_trend_down", "contribution": "much"}]'; return new; end $$;"""
        " create trigger spoil before insert on ops.current_tutor_risk"
        " for each row execute function ops.spoil()",
        "drop trigger spoil on ops.current_tutor_risk; drop function ops.spoil();"
        " delete from ops.current_tutor_risk",
    )
    before = confirmed_at(enriched)
    # One command: the refresh that the check stops, then what it stopped.
    outcome = enriched.json("enrich", "--force", "--by", "ada")
    assert list(outcome["blocking"]) == [
        "ops/current_tutor_risk: falling_rating_never_lowers_a_score"
    ]
    assert outcome["left_out"] == []
    assert confirmed_at(enriched) > before
    states = enriched.query(
        "select distinct on (check_name) check_name, status, severity, message like '%much%'"
        " from ops.dq_results where asset = 'ops/current_tutor_risk' and status <> 'passed'"
        " order by check_name, evaluated_at desc"
    )
    assert states == [("falling_rating_never_lowers_a_score", "errored", "error", True)]
    forced = enriched.query(
        "select asset from ops.dq_overrides where forced_by = 'ada' order by asset"
    )
    assert forced == [(asset,) for asset in MADE]
    # The repaired ratings are no longer in quarantine: those suites were evaluated all the same.
    assert "ops/quarantine: nothing_waits" not in outcome["failed_checks"]


def test_checks_can_be_evaluated_again_without_a_refresh(enriched, break_):
    enriched.json("validate", "--run")
    before = enriched.query("select count(*) from ops.refresh_runs")
    break_(
        "update marts.fct_sessions set tutor_talk_ratio = 7 where session_id in"
        " (select session_id from marts.fct_sessions where tutor_talk_ratio is not null"
        " order by session_id limit 3)",
        "update marts.fct_sessions set tutor_talk_ratio = 0.5 where tutor_talk_ratio = 7",
    )
    report = enriched.json("validate", "--run", status=1)
    assert json.dumps(report).count("tutor_talk_ratio_lies_in_0_to_1")
    assert enriched.query("select count(*) from ops.refresh_runs") == before
    enriched.run("enrich", "--only", "alerts", status=3)
