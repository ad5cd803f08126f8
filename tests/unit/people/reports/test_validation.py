"""What the report says: the verdict, the state of checks, what changed, and the numbers."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.people.reports.conftest import DAY, HOUR, NOW
from tutor_pipeline.people.reports.validation import (
    Check,
    Day,
    Forced,
    Freshness,
    Level,
    State,
    judge,
)
from tutor_pipeline.people.reports.validation_reader import _trend, gather

BEGAN = NOW - HOUR


def check(state: State = State.PASSED, severity: str = "error", blocking: bool = False) -> Check:
    return Check(
        asset="marts/fct_sessions",
        name="a_check",
        says="It holds.",
        owner="suite",
        severity=severity,
        blocking=blocking,
        state=state,
        observed=None,
        rows_checked=None,
        rows_failing=None,
        sample=(),
        query=None,
        message=None,
        as_of=NOW,
        evaluated_at=NOW,
        run_id="run",
    )


FRESH = Freshness(NOW, NOW, NOW, loaded_since=False)


def verdict_of(*checks: Check):
    return judge(checks, 22_431, FRESH)


def test_sound():
    assert verdict_of(check(), check()).sentence == (
        "Sound: 2 checks, 22,431 sessions, as of 2026-03-10 18:50 UTC"
    )


def test_what_does_not_hold_and_stops_nothing_is_counted():
    failed = [check(State.FAILED, "warn"), check(State.FAILED, "warn"), check(State.FAILED)]
    assert verdict_of(check(), *failed).sentence == (
        "3 of 4 checks do not hold (1 error and 2 warnings; nothing stops): 22,431 sessions, as of"
        " 2026-03-10 18:50 UTC"
    )
    assert verdict_of(check(), failed[0]).headline.startswith(
        "1 of 2 checks does not hold (1 warning; nothing stops)"
    )


@given(st.lists(st.sampled_from([*State]), min_size=1), st.booleans(), st.booleans())
def test_no_verdict_is_sound_above_a_check_that_does_not_hold(states, blocks, is_forced):
    checks = [check(state, blocking=blocks) for state in states]
    forced = [Forced("marts/fct_sessions", "anna", NOW, ["It does not hold."])] * is_forced
    verdict = judge(checks, 1, FRESH, forced)
    is_sound = set(states) == {State.PASSED} and not is_forced
    assert (verdict.level is Level.SOUND) == is_sound
    assert ("sound" in verdict.sentence.lower()) == is_sound


def test_what_was_forced_is_not_called_sound():
    forced = [Forced("marts/fct_sessions", "anna", NOW, ["It does not hold."])]
    assert judge([check()], None, FRESH, forced).sentence == (
        "Every check holds now, but 1 table was forced before: 1 check, as of 2026-03-10 18:50 UTC"
    )


def test_a_verdict_on_tables_of_an_older_load_says_so():
    verdict = judge([check()], None, replace(FRESH, loaded_since=True))
    assert verdict.sentence.endswith("18:50 UTC, the platform was loaded anew since")


@pytest.mark.parametrize("state", [State.FAILED, State.ERRORED, State.MISSING])
def test_a_blocking_check_that_does_not_hold_blocks_and_is_named(state):
    verdict = verdict_of(check(), check(state, blocking=True))
    assert verdict.level is Level.BLOCKED
    assert verdict.sentence == (
        "Blocked: 1 of 2 checks stops alerts, insights and achievements (It holds)"
    )


def test_at_most_three_are_named():
    assert verdict_of(check(), *[check(State.FAILED, blocking=True)] * 5).names == (
        "It holds",
        "It holds",
        "It holds",
        "and 2 more",
    )


CHECKS = st.builds(check, st.sampled_from(State), st.sampled_from(["error", "warn"]), st.booleans())


@given(st.lists(CHECKS, max_size=6))
def test_the_level_follows_from_what_does_not_hold(checks):
    level = judge(checks, None, FRESH).level
    wrong = [each for each in checks if each.state is not State.PASSED]
    unknown = all(each.state is State.MISSING for each in checks)
    assert (level is Level.BLOCKED) == (unknown or any(each.blocking for each in wrong))
    assert (level is Level.SOUND) == (bool(checks) and not wrong)


def test_nothing_is_built_and_nothing_was_checked(ops):
    found = ops.gather()
    assert found.verdict.sentence == (
        "Blocked: no check has been run yet; run tutor-pipeline enrich"
    )
    assert found.sessions is None
    assert found.freshness == Freshness(None, None, None, loaded_since=False)
    assert found.quarantine.open == 0
    assert {day.open for day in found.quarantine.days} == {0}


def test_a_refresh_that_came_to_no_check_is_not_sound(ops):
    ops.refresh("yesterday", BEGAN - DAY)
    ops.check("a", BEGAN - DAY + HOUR)
    ops.refresh("today", BEGAN)
    assert ops.gather().verdict.sentence == (
        "Blocked: no check has been run since the refresh of 2026-03-10 17:50 UTC;"
        " run tutor-pipeline enrich"
    )


def states(ops) -> dict[str, str]:
    return {each.name: each.state.value for each in ops.gather().checks}


def test_the_newest_outcome_since_the_refresh_began_counts(ops):
    ops.refresh("today", BEGAN)
    ops.check("a", BEGAN, status="failed")
    ops.check("b", BEGAN, status="passed")
    ops.check("a", BEGAN + HOUR / 4, status="passed")
    ops.check("b", BEGAN + HOUR / 4, status="errored")
    assert states(ops) == {"a": "passed", "b": "errored"}


def test_what_a_run_over_days_of_its_own_checked_is_not_missing_from_a_refresh(ops):
    """Refresh, snapshots, refresh: as every day."""
    ops.refresh("first", BEGAN)
    ops.check("grain", BEGAN)
    day = BEGAN.date()
    ops.refresh("days", BEGAN + HOUR / 4, snapshot_from=day, snapshot_until=day)
    ops.check("of days", BEGAN + HOUR / 4, run_id="days", asset="marts/snapshots", owner="dbt")
    ops.refresh("second", BEGAN + HOUR / 2)
    ops.check("grain", BEGAN + HOUR / 2)
    assert states(ops) == {"grain": "passed", "of days": "passed"}


def test_a_refresh_that_died_before_its_suites_is_not_sound(ops):
    ops.refresh("first", BEGAN)
    ops.check("grain", BEGAN, owner="dbt")
    verdict = gather(ops.database, BEGAN + HOUR / 4).verdict
    assert verdict.level is Level.BLOCKED
    assert "no check has been run" in verdict.sentence


def test_what_failed_is_named_before_what_is_missing(ops):
    ops.refresh("first", BEGAN)
    ops.check("a", BEGAN)
    ops.check("b", BEGAN)
    ops.refresh("second", BEGAN + HOUR / 4)
    ops.check("b", BEGAN + HOUR / 4, status="failed")
    found = gather(ops.database, BEGAN + HOUR / 2)
    assert [check.name for check in found.attention] == ["b", "a"]


def test_what_the_newest_refresh_did_not_come_to_is_missing_until_the_next_but_one(ops):
    ops.refresh("yesterday", BEGAN - DAY)
    ops.check("stays", BEGAN - DAY)
    ops.check("goes", BEGAN - DAY)
    ops.refresh("today", BEGAN)
    ops.check("stays", BEGAN)
    assert states(ops) == {"stays": "passed", "goes": "missing"}
    ops.refresh("later", BEGAN + HOUR / 4)
    ops.check("stays", BEGAN + HOUR / 4)
    assert states(ops) == {"stays": "passed"}


def test_two_refreshes_that_died_do_not_look_like_fewer_checks(ops):
    ops.refresh("whole", BEGAN - 2 * DAY)
    ops.check("early", BEGAN - 2 * DAY)
    ops.check("late", BEGAN - 2 * DAY)
    ops.applied(BEGAN - 2 * DAY + HOUR)
    for began in (BEGAN - DAY, BEGAN):
        ops.refresh(f"died {began}", began)
        ops.check("early", began)
    assert states(ops) == {"early": "passed", "late": "missing"}
    assert ops.gather().verdict.level is Level.BLOCKED


@pytest.mark.parametrize(
    "other",
    [{"is_full": False}, {"snapshot_from": date(2026, 3, 1), "snapshot_until": date(2026, 3, 2)}],
)
def test_a_refresh_of_some_tutors_or_of_snapshots_begins_nothing(ops, other):
    ops.refresh("today", BEGAN)
    ops.check("a", BEGAN)
    ops.refresh("other", BEGAN + HOUR / 4, **other)
    assert states(ops) == {"a": "passed"}


def test_what_stops_comes_first_then_errors_then_warnings(ops):
    ops.refresh("today", BEGAN)
    ops.check("a_warning", BEGAN, status="failed", severity="warn", blocking=False)
    ops.check("b_sound", BEGAN)
    ops.check("c_error", BEGAN, status="failed", blocking=False)
    ops.check("d_errored", BEGAN, status="errored", severity="warn", blocking=False)
    ops.check("e_stops", BEGAN, status="failed", asset="staging/session_rows")
    found = ops.gather()
    assert [each.name for each in found.attention] == [
        "e_stops",
        "c_error",
        "d_errored",
        "a_warning",
    ]
    assert found.passed == 1
    assert [asset for asset, _ in found.by_table()] == [
        "marts/fct_sessions",
        "staging/session_rows",
    ]


def test_what_changed_since_the_report_before(ops):
    ops.refresh("today", BEGAN)
    for name, status in (("worse", "passed"), ("better", "failed"), ("same", "failed")):
        ops.check(name, BEGAN, status=status)
    ops.quarantined("1", NOW)
    first = ops.gather()
    assert first.changes.since is None
    assert {each.then for each in first.changes.counts} == {None}
    ops.reported(first, BEGAN + HOUR / 8)
    ops.check("worse", BEGAN + HOUR / 4, status="failed")
    ops.check("better", BEGAN + HOUR / 4, status="passed")
    ops.check("new", BEGAN + HOUR / 4, status="errored")
    ops.quarantined("2", NOW)
    ops.alert("T1", severity="critical")
    second = ops.gather()
    assert second.changes.since == BEGAN + HOUR / 8
    assert {each.name for each in second.changes.began} == {"worse", "new"}
    assert {each.name for each in second.changes.mended} == {"better"}
    changed = {each.name: each.change for each in second.changes.counts if each.change}
    assert changed == {
        "checks": 1,
        "checks_not_holding": 1,
        "critical_alerts": 1,
        "quarantined_rows": 1,
    }
    # Written again, a run's report is still compared with the one before it.
    ops.reported(second, BEGAN + HOUR / 3)
    assert ops.gather(run_id=f"run at {BEGAN + HOUR / 3}").changes == second.changes
    assert not ops.gather().changes.began


def test_who_went_past_the_checks_since_the_report_before(ops):
    for hours, who in ((1, "anna"), (3, "ben")):
        ops.insert(
            "dq_overrides",
            run_id=who,
            asset="ops/alerts",
            forced_by=who,
            forced_at=NOW - hours * HOUR,
            objections=["a rating without completion"],
        )
    assert [each.forced_by for each in ops.gather().forced] == ["anna", "ben"]
    ops.reported(ops.gather(), NOW - 2 * HOUR)
    (forced,) = ops.gather().forced
    assert (forced.forced_by, forced.objections) == ("anna", ["a rating without completion"])


def test_the_quarantine_by_source_and_reason(ops):
    ops.quarantined("1", NOW, reasons=["unknown_status", "unknown_tutor"])
    ops.quarantined("2", NOW, reasons=["unknown_tutor"])
    ops.quarantined("3", NOW, source="csv")
    ops.quarantined("4", NOW - DAY, resolved_at=NOW)
    found = ops.gather().quarantine
    assert found.open == 3
    assert found.sources == {"csv": 1, "platform.sessions": 2}
    assert [(each.source, each.reason, each.rows) for each in found.reasons] == [
        ("csv", "unknown_status", 1),
        ("platform.sessions", "unknown_tutor", 2),
        ("platform.sessions", "unknown_status", 1),
    ]


@given(data=st.data())
def test_the_trend_conserves_rows(data):
    days = st.integers(-60, 0).map(lambda back: NOW.date() + timedelta(days=back))
    lives = st.lists(days, min_size=1, max_size=2).map(sorted)
    pairs = [(life[0], life[1] if life[1:] else None) for life in data.draw(st.lists(lives))]
    events: dict[date, dict[str, int]] = {}
    for pair in pairs:
        for day, name in zip(pair, ("opened", "resolved"), strict=True):
            if day is not None:
                events.setdefault(day, {"opened": 0, "resolved": 0})[name] += 1
    rows = [{"day": day, **row} for day, row in sorted(events.items())]
    trend = _trend(rows, NOW.date())
    assert len(trend) == 30
    assert trend[-1].day == NOW.date()
    assert trend[-1].open == sum(resolved is None for _, resolved in pairs)
    for before, after in itertools.pairwise(trend):
        assert after.open == before.open + after.opened - after.resolved >= 0


def test_the_trend_of_old_data_reaches_to_its_days_and_to_what_came_later(ops):
    old = datetime(2024, 5, 1, 12, tzinfo=UTC)
    ops.refresh("old", old)
    assert ops.gather().quarantine.days[-1].day == old.date()
    ops.quarantined("1", NOW)
    assert ops.gather().quarantine.days[-1] == Day(NOW.date(), 1, 0, 1)


def test_freshness_and_sessions(ops):
    ops.refresh("today", BEGAN)
    ops.sessions(NOW - 5 * HOUR, NOW - DAY, NOW + DAY)
    found = ops.gather()
    assert found.sessions == 3
    assert found.freshness == Freshness(NOW - 5 * HOUR, BEGAN, BEGAN, loaded_since=False)


def test_alerts_insights_and_achievements(ops):
    ops.alert("T1", severity="critical", title="Late")
    ops.alert("T2", snoozed_until=NOW + DAY, snoozed_by="anna")
    ops.alert("T3", resolved_at=NOW, resolved_by="anna", resolution="coached")
    ops.alert("T3", alert_type="absent", title="Absent")
    for tutor in ("T1", "T2"):
        ops.insight(tutor, "questions", "strength")
    ops.insight("T1", "talks_much", "growth_area")
    ops.achievement("T1")
    ops.achievement("T2", resolved_at=NOW, resolved_by="pipeline", resolution="auto")
    found = ops.gather()
    assert [(each.title, each.critical, each.warning, each.snoozed) for each in found.alerts] == [
        ("Late", 1, 1, 1),
        ("Absent", 0, 1, 0),
    ]
    assert [(each.category, each.insight_type, each.tutors) for each in found.insights] == [
        ("questions", "strength", 2),
        ("talks_much", "growth_area", 1),
    ]
    (badge,) = found.achievements
    assert (badge.title, badge.icon, badge.held, badge.lapsed) == ("Guru", "💡", 1, 1)
    counts = {each.name: each.now for each in found.changes.counts}
    assert (counts["strengths"], counts["growth_areas"], counts["achievements"]) == (2, 1, 1)


def test_coverage_is_of_the_newest_run_of_each_kind(ops):
    ops.coverage("retired", 10, NOW - DAY)
    ops.coverage("late", 10, NOW - DAY)
    ops.coverage("late", 4, NOW)
    ops.coverage("questions", 7, NOW - DAY, kind="insight")
    assert [(each.kind, each.rule_id, each.share) for each in ops.gather().coverage] == [
        ("alert", "late", 0.4),
        ("insight", "questions", 0.7),
    ]
