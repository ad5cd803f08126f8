"""What knows the future is left out of the weekly learning or held back, somebody is told, and
somebody may let it pass: the real assets over synthetic histories.
"""

from datetime import UTC, datetime, time, timedelta

import dagster as dg
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.defs.test_learning import (
    LEARN,
    _environment,  # noqa: F401
    history,
    newest,
)
from tests.unit.judgement.scores.frames import made_up
from tutor_pipeline.cli.app import app
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.judgement.scores.departure import reference
from tutor_pipeline.judgement.scores.departure.measures import columns_of
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.score import Subject
from tutor_pipeline.judgement.scores.storage import feature_log, versions
from tutor_pipeline.people import incidents
from tutor_pipeline.steps import forecaster, leaks
from tutor_pipeline.steps.backtest_tutors import read_past


@pytest.fixture
def frames():
    return made_up(150, 30, seed=5)


def after(day, days=1):
    """In the night so many days after a day."""
    return datetime.combine(day + timedelta(days=days), time(4, 30), UTC)


def log(warehouse, *days, late=1):
    """Log these days, each so many days later; which were."""
    with warehouse.connect() as database:
        return [leaks.log_evidence(database, after(day, late)) for day in days]


def execute(warehouse, statement, parameters=None):
    with warehouse.connect() as database:
        return database.execute(statement, parameters)


def rows(warehouse, statement, parameters=None):
    with warehouse.connect() as database:
        return database.execute(statement, parameters).fetchall()


def told(warehouse, *, closed=False):
    with warehouse.connect() as database:
        found = incidents.listed(database, include_closed=closed)
    return {(each["kind"], each["subject"]): each for each in found}


def test_a_settled_day_is_logged_once_and_never_again(warehouse, frames):
    history(warehouse, frames)
    days = sorted(frames.history)
    assert log(warehouse, days[-2]) == [days[-2]]
    before = rows(warehouse, "select f::text from {ops}.feature_log as f order by 1")
    assert (
        len(before)
        == rows(
            warehouse,
            "select count(*) from {marts}.tutor_evidence_history where as_of_date = %s",
            (days[-2],),
        )[0][0]
    )
    # The same again, whatever history says now; a day that is not new any more; one before it.
    execute(warehouse, "update {marts}.tutor_evidence_history set usual_hours = 1")
    assert log(warehouse, days[-2]) == [None]
    assert log(warehouse, days[-1], late=8) == [None]
    assert log(warehouse, days[-3]) == [None]
    assert rows(warehouse, "select f::text from {ops}.feature_log as f order by 1") == before
    assert log(warehouse, days[-1], late=7) == [days[-1]]
    with warehouse.connect() as database:
        first = feature_log.first_days(database, Subject.TUTOR)
    assert first == dict.fromkeys(TUTORS.reads, days[-2])
    with pytest.raises(Exception, match="never changed in place"):
        execute(warehouse, "update {ops}.feature_log set numbers = '{{}}'")


def test_the_weekly_learning_logs_the_newest_day(warehouse, frames):
    history(warehouse, frames)
    day = max(frames.history)
    execute(
        warehouse,
        "update {ops}.refresh_runs set as_of = %s where run_id = 'refresh'",
        (after(day),),
    )
    materialize(LEARN)
    ((logged, at, columns),) = rows(
        warehouse, "select as_of_date, logged_at, columns from {ops}.feature_log_days"
    )
    assert (logged, at, tuple(columns)) == (day, after(day), TUTORS.reads)


def materialize(asset):
    """The weekly learning, with a short back-test: what is learned is the same."""
    result = dg.materialize(
        [asset],
        resources={"warehouse": WarehouseResource()},
        run_config={"ops": {"learn_departures": {"config": {"weeks": 2}}}},
    )
    return {
        event.asset_key.path[-1]: {
            name: entry.value for name, entry in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
    }


def rewrite(warehouse, column, share, value):
    """Rewrite a column in a share of the rows of each day."""
    execute(
        warehouse,
        f"update {{marts}}.tutor_evidence_history set {column} = {value}"
        " where abs(hashtext(tutor_id)) %% 100 < %s",
        (100 * share,),
    )


def test_what_is_rewritten_is_left_out_until_it_is_as_it_was(warehouse, frames):
    as_of = history(warehouse, frames)
    log(warehouse, *sorted(frames.history)[-2:])
    first = materialize(LEARN)["model_versions"]
    assert first["decision"].endswith("not yet verified (2 of 8 logged weeks)")
    assert (first["verified"], first["left_out"], first["held_back"]) == (
        "not yet verified (2 of 8 logged weeks)", "none", False,
    )  # fmt: skip
    assert told(warehouse) == {}

    rewrite(warehouse, "earned_before", 0.05, "earned_before + 100")
    second = materialize(LEARN)["model_versions"]
    assert second["left_out"] == "earnings"
    assert (
        "left out: earnings, as earned_before had other values when it was new"
        in (second["decision"])
    )
    version, row = newest(warehouse, as_of)
    assert "earnings" not in version.signals
    assert "hours" in version.signals
    assert row["metrics"]["leakage"]["left_out"] == {"earned_before": ["earnings"]}
    (incident,) = told(warehouse).values()
    assert (incident["kind"], incident["subject"]) == ("leakage", "earned_before")
    days = [day.isoformat() for day in sorted(frames.history)[-2:]]
    assert incident["details"]["days"] == days
    assert 0.01 < incident["details"]["share"] < 0.12
    assert incident["details"]["signs"] == ["earnings"]
    assert f"on {days[1]}: " in incident["details"]["example"]
    # Somebody on duty is told once.
    told_of = "select count(*) from {ops}.outbox where kind = 'incident'"
    assert rows(warehouse, told_of) == [(1,)]
    materialize(LEARN)
    assert rows(warehouse, told_of) == [(1,)]
    assert told(warehouse)["leakage", "earned_before"]["occurrences"] == 2

    rewrite(warehouse, "earned_before", 0.05, "earned_before - 100")
    assert materialize(LEARN)["model_versions"]["left_out"] == "none"
    assert told(warehouse) == {}
    assert "earnings" in newest(warehouse, as_of)[0].signals


def test_asked_on_another_weekday_what_was_left_out_stays_so(warehouse, frames):
    """A back-test by hand asks about other days than were logged."""
    history(warehouse, frames)
    log(warehouse, *sorted(frames.history)[-2:])
    rewrite(warehouse, "earned_before", 0.05, "earned_before + 100")
    materialize(LEARN)
    shift = "update {marts}.tutor_evidence_history set as_of_date = as_of_date - %s"
    execute(warehouse, shift, (3,))
    found = materialize(LEARN)["model_versions"]
    assert found["left_out"] == "earnings"
    assert "could not be compared this time" in found["decision"]
    assert ("leakage", "earned_before") in told(warehouse)
    execute(warehouse, shift, (-3,))
    rewrite(warehouse, "earned_before", 0.05, "earned_before - 100")
    assert materialize(LEARN)["model_versions"]["left_out"] == "none"
    assert told(warehouse) == {}


def test_what_came_honestly_late_is_not_compared(warehouse, frames):
    history(warehouse, frames)
    day = max(frames.history)
    log(warehouse, day)
    rewrite(warehouse, "earned_before", 0.05, "earned_before + 100")
    execute(
        warehouse,
        "update {marts}.tutor_evidence_history set recorded_until = %s"
        " where abs(hashtext(tutor_id)) %% 100 < 5",
        (after(day) + timedelta(hours=1),),
    )
    assert materialize(LEARN)["model_versions"]["left_out"] == "none"
    # Recorded before the day was logged, it was known.
    execute(
        warehouse, "update {marts}.tutor_evidence_history set recorded_until = %s", (after(day),)
    )
    assert materialize(LEARN)["model_versions"]["left_out"] == "earnings"


def test_what_changes_no_sign_leaves_none_out(warehouse, frames):
    """Who was seen for 400 days or for 500 is the same to every sign."""
    history(warehouse, frames)
    log(warehouse, max(frames.history))
    rewrite(warehouse, "days_seen", 0.5, "days_seen + 100")
    assert materialize(LEARN)["model_versions"]["left_out"] == "none"
    assert told(warehouse) == {}


def test_days_of_another_definition_are_not_compared(warehouse, frames):
    history(warehouse, frames)
    log(warehouse, max(frames.history))
    rewrite(warehouse, "earned_before", 0.05, "earned_before + 100")
    execute(warehouse, "alter table {ops}.feature_log_days disable trigger never_changed")
    execute(warehouse, "update {ops}.feature_log_days set definition = 'of last year'")
    execute(warehouse, "alter table {ops}.feature_log_days enable trigger never_changed")
    found = materialize(LEARN)["model_versions"]
    assert (found["left_out"], found["verified"]) == (
        "none", "not yet verified (0 of 8 logged weeks)",
    )  # fmt: skip


def test_after_eight_logged_weeks_a_version_is_verified(warehouse, frames):
    history(warehouse, frames)
    log(warehouse, *sorted(frames.history)[-8:])
    decision = materialize(LEARN)["model_versions"]["decision"]
    assert decision.endswith("; verified on 8 logged weeks")


def leaving(frames, row, days=30):
    """Whether the tutor of a row leaves within so many days."""
    gone = frames.departures.get(row["tutor_id"])
    return gone is not None and (gone - row["as_of_date"]).days <= days


def test_a_column_that_knows_who_will_leave_is_left_out_and_the_rest_learned(warehouse, frames):
    for row in (row for day in frames.history.values() for row in day):
        row["reply_hours_14d"] += 4 * leaving(frames, row)
    as_of = history(warehouse, frames)
    found = materialize(LEARN)["model_versions"]
    assert found["left_out"] == "reply, reply_level"
    version, row = newest(warehouse, as_of)
    assert not {"reply", "reply_level"} & set(version.signals)
    assert version.departures > 5
    assert row["is_promoted"]
    incident = told(warehouse)["leakage", "reply_hours_14d"]
    assert incident["details"]["at_least"] > 0.9

    accepted = run("accept", "reply_hours_14d", "--by", "Ada", "--reason", "they say so")
    assert accepted.exit_code == 0, accepted.output
    assert told(warehouse) == {}
    assert rows(
        warehouse, "select subject, column_name, accepted_by, why from {ops}.accepted_columns"
    ) == [("tutor", "reply_hours_14d", "Ada", "they say so")]
    assert run("accept", "reply_hours_14d", "--by", "Bob").exit_code == 0
    assert len(rows(warehouse, "select from {ops}.accepted_columns")) == 1
    assert "no column that is left out is called usual_hours" in refused("accept", "usual_hours")
    # It is learned from again; and what comes of it may be too good all the same.
    assert materialize(LEARN)["model_versions"]["left_out"] == "none"
    ((signals,),) = rows(
        warehouse, "select model -> 'signals' from {ops}.model_versions where version = 2"
    )
    assert "reply" in signals


def run(*arguments):
    return CliRunner().invoke(app, ["scores", *arguments])


def refused(*arguments):
    """Why it is refused."""
    found = run(*arguments, "--by", "Ada")
    assert isinstance(found.exception, UsageError), found.output
    return str(found.exception)


def test_present_values_are_no_evidence_before_they_were_logged(warehouse, frames):
    """As if hours were read from the profile: the same in all the past."""
    usual = {row["tutor_id"]: row["usual_hours"] for row in frames.history[min(frames.history)]}
    for row in (row for day in frames.history.values() for row in day):
        row["usual_hours"] = usual[row["tutor_id"]]
    as_of = history(warehouse, frames)
    days = sorted(frames.history)
    log(warehouse, *days[-8:])
    found = materialize(LEARN)["model_versions"]
    assert (
        f"no evidence before {days[-8]}: hours, as usual_hours holds only its present value"
        in found["decision"]
    )
    with warehouse.connect() as database:
        past = read_past(database, as_of, 52)
        past = leaks.without_leaks(past, leaks.look(database, past))
    known = {week.day: "hours" in week.reference.known for week in past.weeks}
    assert known == {day: day >= days[-8] for day in days}
    assert "hours" in newest(warehouse, as_of)[0].signals


def too_good(frames):
    """Each of these columns tells of two in three who will leave; together they tell of all."""
    rng = np.random.default_rng(1)
    shifts = {
        "reply_hours_14d": 4.0,
        "booked_ahead": 0.0,
        "login_days_14d": 0.0,
        "score_28d": 0.4,
        "engagement_28d": 0.4,
        "rating_28d": 0.4,
    }
    for row in (row for day in frames.history.values() for row in day):
        for column, shift in shifts.items():
            if leaving(frames, row) and row[column] is not None and rng.random() < 0.66:
                row[column] *= shift
    return frames


def test_a_forecast_that_is_too_good_waits_until_somebody_accepts_it(warehouse):
    frames = too_good(made_up(200, 30, seed=5))
    as_of = history(warehouse, frames)
    rows_now = [dict.fromkeys(TUTORS.reads) | row for row in frames.history[max(frames.history)]]
    usual = reference.fit(TUTORS, columns_of(rows_now, TUTORS.reads))

    def in_force():
        with warehouse.connect() as database:
            return forecaster._version(database, as_of, usual, 0.25)

    execute(
        warehouse,
        "create or replace view {marts}.tutor_evidence as"
        " select * from {marts}.tutor_evidence_history"
        " where as_of_date = (select max(as_of_date) from {marts}.tutor_evidence_history)",
    )
    try:
        found = materialize(LEARN)["model_versions"]
        assert found["held_back"]
        assert (found["version"], found["left_out"]) == (1, "none"), found["decision"]
        assert found["decision"].startswith("Held back: it predicts departures with an AUC of 0.9")
        assert "tutor-pipeline scores accept 1. Learned from" in found["decision"]
        incident = told(warehouse)["held_back", TUTORS.scorer]
        assert incident["details"]["version"] == 1
        with warehouse.connect() as database:
            assert versions.newest_model(database, TUTORS.scorer, as_of) is None
        # Documented weights are in force, and say why; made once.
        assert in_force().version == in_force().version == 2
        ((decision, leavers),) = rows(
            warehouse, "select decision, leavers from {ops}.model_versions where version = 2"
        )
        assert decision.startswith("Version 1 is held back: documented weights")
        assert decision.endswith("Let it pass: tutor-pipeline scores accept 1")
        assert leavers == 0

        for unknown, why in (("7", "there is no version 7"), ("2", "version 2 is not held back")):
            assert why in refused("accept", unknown)
        assert in_force().version == 2
        accepted = run("accept", "1", "--by", "Ada", "--reason", "checked")
        assert "accepted version 1: it is version 3" in accepted.output
        again = run("accept", "1", "--by", "Bob")
        assert again.exit_code == 0
        assert "version 1 is accepted already: it is version 3" in again.output
        assert rows(
            warehouse,
            "select version, accepts, accepted_by, accepted_why, is_promoted"
            " from {ops}.model_versions order by 1",
        ) == [
            (1, None, None, None, False),
            (2, None, None, None, True),
            (3, 1, "Ada", "checked", True),
        ]
        assert told(warehouse) == {}
        assert in_force().version == 3
        models = rows(warehouse, "select model from {ops}.model_versions where version <> 2")
        assert models[0] == models[1]
        assert "version 3 is not held back" in refused("accept", "3")

        # What is no better than what was accepted needs nobody.
        found = materialize(LEARN)["model_versions"]
        assert (found["version"], found["held_back"]) == (4, False)
        assert "no better than what was accepted" in found["decision"]
        assert in_force().version == 4
        assert "no longer of use: version 4 was learned after it" in refused("accept", "1")
        # Where all is forgotten, so is that.
        with warehouse.connect() as database:
            versions.forget_learned(database, TUTORS.scorer, "another platform", as_of)
            feature_log.forget(database)
        assert materialize(LEARN)["model_versions"]["held_back"]
        assert ("held_back", TUTORS.scorer) in told(warehouse)
    finally:
        execute(warehouse, "drop view {marts}.tutor_evidence")
