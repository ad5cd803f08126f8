"""Each world is the ordinary one but for what makes it that world."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from tutor_pipeline.cli import platform_data
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.sources.synthetic import Parameters, Population, generate
from tutor_pipeline.sources.synthetic.export import export_csv
from tutor_pipeline.sources.synthetic.population import Array, row_count
from tutor_pipeline.sources.synthetic.worlds import ORDINARY, WORLDS

pytestmark = pytest.mark.slow

END = date(2026, 11, 19)
DAYS = 120
START = np.datetime64(END) - np.timedelta64(DAYS - 1, "D")


@cache
def world(name: str, days: int = DAYS) -> Population:
    """Many tutors with a session and more a day: shares say something."""
    return generate(
        Parameters(
            end=END, tutors=500, days=days, sessions_per_day=600, world=name,
            interventions=False, experiments=False,
        )
    )  # fmt: skip


def spells(population: Population) -> Array:
    """Burnout as tutors x days, NaN where a tutor is not there."""
    days, tutors = population.truth["tutor_days"], population.truth["tutors"]["tutor_id"]
    found = np.full((len(tutors), DAYS), np.nan)
    day = (days["day"] - START).astype(np.int64)
    found[np.searchsorted(tutors, days["tutor_id"]), day] = days["burnout"]
    return found


def per_week(population: Population) -> Array:
    """Sessions of each whole week, from Monday on."""
    sessions = population.platform["sessions"]
    start = sessions["scheduled_start"][sessions["status"] != b"scheduled"].astype("M8[D]")
    week, count = np.unique((start.astype(np.int64) + 3) // 7, return_counts=True)
    assert (np.diff(week) == 1).all()
    return count[1:-1]


def by_tutor(population: Population, marks: Array) -> tuple[Array, Array]:
    """How many of each tutor's sessions have the mark, and how many there are."""
    sessions, tutors = population.platform["sessions"], population.truth["tutors"]["tutor_id"]
    past = sessions["status"] != b"scheduled"
    tutor = np.searchsorted(tutors, sessions["tutor_id"])
    return np.bincount(tutor[marks & past], minlength=len(tutors)), np.bincount(
        tutor[past], minlength=len(tutors)
    )


def excess(hits: Array, of: Array) -> float:
    """Variance of the shares relative to what chance makes of a common one."""
    hits, of = hits[of > 0], of[of > 0]
    share = hits.sum() / of.sum()
    return float(np.mean((hits - of * share) ** 2 / (of * share * (1 - share))))


# Any world


def test_ordinary_is_what_comes_without_a_name() -> None:
    assert Parameters(end=END) == Parameters(end=END, world="ordinary")
    one = generate(Parameters.preset("dev", END))
    assert (
        one.fingerprint() == generate(Parameters.preset("dev", END, world="ordinary")).fingerprint()
    )


def test_unknown_worlds_are_refused_with_the_names_of_all() -> None:
    with pytest.raises(UsageError, match="--world is 'mars', but it must be one of ordinary, sp"):
        Parameters(end=END, world="mars")
    with pytest.raises(UsageError, match="flat, busy, leaky"):
        Parameters.preset("dev", END, world="mars")


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_is_the_same_every_time_and_another_than_the_others(name: str) -> None:
    wanted = Parameters(end=END, tutors=60, world=name)
    made = generate(wanted)
    assert made.fingerprint() == generate(wanted).fingerprint()
    assert json.loads(json.dumps({**asdict(wanted), "end": None}))["world"] == name
    ordinary = generate(Parameters(end=END, tutors=60)).fingerprint()
    assert (made.fingerprint() == ordinary) == (name in {"ordinary", "seasonal"})


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize(("tutors", "days"), [(1, 1), (2, 400), (40, 3)])
def test_worlds_of_odd_sizes_work(name: str, tutors: int, days: int) -> None:
    made = generate(Parameters(end=END, tutors=tutors, days=days, sessions_per_day=3, world=name))
    assert row_count(made.platform["sessions"]) > 0
    days_of = made.truth["tutor_days"]
    assert ((days_of["burnout"] >= 0.6) == (days_of["is_at_risk"] == 1)).all()


@pytest.mark.parametrize("name", sorted(WORLDS.keys() - {"flat"}))
def test_tutors_are_at_risk_in_every_world_but_the_flat_one(name: str) -> None:
    made = world(name)
    assert 0.002 < made.truth["tutor_days"]["is_at_risk"].mean() < 0.06
    assert (~np.isnat(made.truth["tutors"]["left_on"])).mean() == pytest.approx(0.08)


# Ordinary: what scatters


def test_reschedules_scatter_by_chance() -> None:
    """The two halves of a tutor's sessions differ as coins of one kind would."""
    sessions = world("ordinary").platform["sessions"]
    tutors = world("ordinary").truth["tutors"]["tutor_id"]
    past = np.flatnonzero(sessions["status"] != b"scheduled")
    tutor = np.searchsorted(tutors, sessions["tutor_id"][past])
    moved = sessions["rescheduled_by"][past] == b"tutor"
    order = np.argsort(tutor, kind="stable")
    turn = np.empty(len(past), dtype=np.int64)
    turn[order] = np.arange(len(past)) - np.searchsorted(tutor[order], tutor[order])
    block = turn // 10  # so short that their share hardly changes
    whole = tutor * 1000 + block
    _, cell, held = np.unique(whole, return_inverse=True, return_counts=True)
    hits = np.bincount(cell, moved)[held == 10]
    owner = (np.unique(whole) // 1000)[held == 10]
    count = np.bincount(owner, minlength=len(tutors))
    share = np.bincount(owner, hits, len(tutors)) / np.maximum(10 * count, 1)
    chance = 10 * share * (1 - share)
    known = (count >= 5) & (chance > 0)
    within = (hits - 10 * share[owner]) ** 2
    variance = np.bincount(owner, within, len(tutors)) / np.maximum(count - 1, 1)
    assert (variance / np.maximum(chance, 1e-9))[known].mean() == pytest.approx(1.0, abs=0.12)


def test_demand_varies_by_week() -> None:
    made = world("ordinary", 400)
    counts = per_week(made)
    assert 0.04 < np.log(counts).std() < 0.12  # chance alone: 0.015
    assert counts.sum() < 400 * 600


def test_demand_of_a_tutor_varies_more_than_by_chance() -> None:
    made = world("ordinary")
    sessions, tutors = made.platform["sessions"], made.truth["tutors"]
    stays = np.isnat(tutors["left_on"]) & (made.platform["tutors"]["member_since"] < START)
    tutor = np.searchsorted(tutors["tutor_id"], sessions["tutor_id"])
    start = sessions["scheduled_start"].astype("M8[D]")
    week = (start.astype(np.int64) + 3) // 7
    week -= week.min()
    grid = np.zeros((len(stays), week.max() + 1))
    np.add.at(grid, (tutor, week), 1)
    grid = grid[stays, 1 : DAYS // 7 - 1]
    grid = grid / grid.mean(axis=0)  # the platform's own weeks
    mean = grid.mean(axis=1)
    a_week = 600 * 7 / 500
    beyond = (grid.var(axis=1, ddof=1) - mean / a_week).mean() / (mean**2).mean()
    assert 0.03 < beyond < 0.12  # 0.25 squared, and what burnout does


# What makes each world


def test_sparse_lacks_tables_and_is_ordinary_else() -> None:
    sparse, ordinary = (
        generate(Parameters(end=END, world=name)) for name in ("sparse", "ordinary")
    )
    empty = {name for name, table in sparse.platform.items() if not row_count(table)}
    assert empty == {
        "tutor_availability", "session_billing", "engagement_events", "session_audio_metrics",
        "session_video_metrics", "session_screen_metrics", "session_transcript_metrics",
        "session_transcript_highlights",
    }  # fmt: skip
    for mine, theirs in (
        (sparse.platform, ordinary.platform),
        (sparse.truth, ordinary.truth),
    ):
        for table in mine.keys() - empty:
            for name, values in mine[table].items():
                assert values.tobytes() == theirs[table][name].tobytes(), (table, name)


def test_sparse_exports_what_there_is(tmp_path: Any) -> None:
    written = export_csv(generate(Parameters.preset("dev", END, world="sparse")), tmp_path)
    assert written["sessions.csv"] > 900
    assert "engagement_events.csv" not in written


def test_late_shows_in_the_last_ten_days_only() -> None:
    made = world("late")
    burnout, tutors = spells(made), made.truth["tutors"]
    worn_out = np.flatnonzero(tutors["leave_cause"] == b"burnout")
    left = (tutors["left_on"][worn_out] - START).astype(np.int64)
    known = left > 20
    assert known.sum() > 15
    for tutor, day in zip(worn_out[known], left[known], strict=True):
        assert np.nanmax(burnout[tutor, : day - 10]) < 0.6
        assert burnout[tutor, day - 7 : day].min() >= 0.6
    # Others get there too, and recover.
    stays = np.isnat(tutors["left_on"])
    at_risk = burnout[stays] >= 0.6
    reached = at_risk.any(axis=1)
    assert 15 < reached.sum() < 60
    assert 3 < at_risk[reached].sum(axis=1).mean() <= 10
    # Nor does the level of those who leave stand out before.
    usual = np.nanmean(burnout[stays])
    before = [np.nanmean(burnout[who, :day]) for who, day in zip(worn_out, left - 10, strict=True)
              if day > 10]  # fmt: skip
    assert np.mean(before) == pytest.approx(usual, abs=0.07)


def test_late_signs_follow_the_late_burnout() -> None:
    made = world("late")
    sessions, tutors = made.platform["sessions"], made.truth["tutors"]
    left_on = tutors["left_on"][np.searchsorted(tutors["tutor_id"], sessions["tutor_id"])]
    cause = tutors["leave_cause"][np.searchsorted(tutors["tutor_id"], sessions["tutor_id"])]
    mine = (cause == b"burnout") & ~np.isnan(sessions["overall_session_score"])
    days = (left_on[mine] - sessions["scheduled_start"][mine].astype("M8[D]")).astype(np.int64)
    score = sessions["overall_session_score"][mine]
    last, before = score[days <= 8], score[(days > 10) & (days <= 20)]
    earlier = score[(days > 20) & (days <= 50)]
    assert last.mean() < before.mean() - 0.7
    assert before.mean() == pytest.approx(earlier.mean(), abs=0.15)


def test_seasonal_has_holidays_and_exam_weeks() -> None:
    made, ordinary = world("seasonal", 400), world("ordinary", 400)
    dates = np.arange(np.datetime64("2025-11-01"), np.datetime64("2026-11-20"))
    load = WORLDS["seasonal"].load_on(dates)
    assert ((load == 0.45).sum(), (load == 1.40).sum()) == (28, 28)

    def daily(population: Population) -> Array:
        start = population.platform["sessions"]["scheduled_start"].astype("M8[D]")
        return np.bincount((start - dates[0]).astype(np.int64)[start >= dates[0]])[: len(dates)]

    found = daily(made) / daily(ordinary)
    usual = found[load == 1].mean()
    assert found[load == 0.45].mean() / usual == pytest.approx(0.45, abs=0.02)
    assert found[load == 1.40].mean() / usual == pytest.approx(1.40, abs=0.04)
    assert found[dates == np.datetime64("2025-12-27")] < 0.6 * usual
    # Tutors offer less in holidays, and look in more seldom.
    offers = made.platform["tutor_availability"]
    of_week = WORLDS["seasonal"].load_on(offers["week_start"] + 3)
    hours = [offers["available_hours"][of_week == value].mean() for value in (0.45, 1.0, 1.4)]
    assert hours[0] < 0.55 * hours[1]
    assert hours[2] == pytest.approx(hours[1], rel=0.1)
    events = made.platform["engagement_events"]
    logins = events["occurred_at"][events["event_type"] == b"login"].astype("M8[D]")
    a_day = np.bincount((logins - dates[0]).astype(np.int64)[logins >= dates[0]])[: len(dates)]
    assert a_day[load == 0.45].mean() < 0.65 * a_day[load == 1].mean()
    # Burnout knows no calendar.
    assert spells_equal(made, ordinary)


def spells_equal(one: Population, other: Population) -> bool:
    mine, theirs = one.truth["tutor_days"], other.truth["tutor_days"]
    return all(mine[name].tobytes() == theirs[name].tobytes() for name in mine)


def test_sudden_a_third_leave_without_signs() -> None:
    made = world("sudden")
    burnout, tutors = spells(made), made.truth["tutors"]
    left = ~np.isnat(tutors["left_on"])
    sudden = tutors["leave_cause"] == b"sudden"
    assert sudden.sum() / left.sum() == pytest.approx(1 / 3, abs=0.02)
    assert (tutors["leave_cause"] == b"outside").sum() / left.sum() == pytest.approx(0.25, abs=0.02)
    assert np.nanmax(burnout[sudden]) < 0.6
    left_on = (tutors["left_on"][sudden] - START).astype(np.int64)
    leavers = zip(np.flatnonzero(sudden), left_on, strict=True)
    last = [np.nanmean(burnout[who, max(day - 14, 0) : day]) for who, day in leavers if day > 0]
    assert np.mean(last) == pytest.approx(np.nanmean(burnout[~left]), abs=0.08)


def last_sessions(population: Population) -> tuple[float, float]:
    """How much likelier the last session of those who left was a bad one than any of the same
    tutors, and the share of those who stayed away for 15 days and more."""
    sessions, students = population.platform["sessions"], population.platform["students"]
    student = np.searchsorted(students["user_id"], sessions["student_id"])
    _, tutor = np.unique(sessions["tutor_id"], return_inverse=True)
    left = ~np.isnat(students["churned_date"])
    last = np.zeros(len(left), dtype=np.int64)
    last[student] = np.arange(len(student))  # rows are in order of time
    wait = students["churned_date"] - sessions["scheduled_start"].astype("M8[D]")[last]
    score = sessions["overall_session_score"]
    bad = (score < np.nanquantile(score, 0.1)) | (sessions["status"] == b"no_show_tutor")
    bad |= sessions["rescheduled_by"] == b"tutor"
    past = sessions["status"] != b"scheduled"
    usual = np.bincount(tutor[past], bad[past]) / np.maximum(np.bincount(tutor[past]), 1)
    last = last[left]
    return (
        float(bad[last].mean() / usual[tutor[last]].mean()),
        float((wait[left].astype(np.int64) >= 15).mean()),
    )


def test_drift_students_stay_away_after_sessions_like_any_other() -> None:
    bad, away = last_sessions(world("drift"))
    assert away > 0.9
    assert bad == pytest.approx(1.0, abs=0.1)
    usually_bad, usually_away = last_sessions(world("ordinary"))
    assert 0.2 < usually_away < 0.4
    assert usually_bad > 1.1
    left = [(world(name).truth["students"]["leave_cause"] != b"").sum()
            for name in ("drift", "ordinary")]  # fmt: skip
    assert left[0] == pytest.approx(left[1], rel=0.25)


def test_flat_has_no_differences_but_chance() -> None:
    made = world("flat")
    truth = made.truth["tutors"]
    for name in ("persona", "teaching_quality", "reliability", "no_show_propensity", "risk"):
        assert len(np.unique(truth[name])) == 1, name
    assert not row_count(made.truth["planted_patterns"])
    assert set(truth["leave_cause"]) == {b"", b"outside"}
    days = made.truth["tutor_days"]
    assert len(np.unique(days["burnout"])) == 1
    assert not days["is_at_risk"].any()
    for name, mark in (
        ("rescheduled_by", b"tutor"),
        ("status", b"no_show_tutor"),
    ):
        scatter = excess(*by_tutor(made, made.platform["sessions"][name] == mark))
        assert scatter == pytest.approx(1.0, abs=0.25), name
        ordinary = world("ordinary")
        assert excess(*by_tutor(ordinary, ordinary.platform["sessions"][name] == mark)) > 2, name
    feedback, sessions = made.platform["session_feedback"], made.platform["sessions"]
    row = np.searchsorted(sessions["id"], feedback["session_id"])
    tutor = np.searchsorted(truth["tutor_id"], sessions["tutor_id"][row])
    stars = feedback["student_satisfaction_rating"]
    count = np.maximum(np.bincount(tutor, minlength=len(truth["tutor_id"])), 1)
    mean = np.bincount(tutor, stars, len(count)) / count
    spread = ((mean - stars.mean()) ** 2 * count)[count > 20].mean() / stars.var()
    assert spread == pytest.approx(1.0, abs=0.25)


def test_busy_has_twenty_sessions_a_week() -> None:
    wanted = Parameters(end=END, tutors=70, world="busy")
    assert wanted.sessions_per_day == 200
    made = generate(wanted)
    start = made.platform["sessions"]["scheduled_start"].astype("M8[D]")
    recent = (start > np.datetime64(END) - 70) & (start <= np.datetime64(END))
    assert recent.sum() / 10 / 70 == pytest.approx(20, rel=0.08)
    assert Parameters.preset("production", END, world="busy").sessions_per_day == 429
    said = Parameters.preset("dev", END, world="busy", sessions_per_day=9)
    assert said.sessions_per_day == 9
    assert Parameters(end=END, world="busy", sessions_per_day=9).sessions_per_day == 9
    assert Parameters(end=END, world="flat").sessions_per_day == ORDINARY.sessions_per_day == 60


def replies(population: Population) -> tuple[float, float]:
    """Mean reply time in the reports of the last thirty days of leavers, and before."""
    offers, tutors = population.platform["tutor_availability"], population.truth["tutors"]
    left_on = tutors["left_on"][np.searchsorted(tutors["tutor_id"], offers["tutor_id"])]
    left = (left_on - offers["reported_at"].astype("M8[D]")).astype(np.int64)
    hours, leaves = offers["avg_response_time_hours"], ~np.isnat(left_on)
    return (
        float(hours[leaves & (left <= 30)].mean()),
        float(hours[leaves & (left > 30)].mean()),
    )


def test_leaky_replies_know_who_will_leave() -> None:
    last, before = replies(world("leaky"))
    usually_last, usually_before = replies(world("ordinary"))
    assert last - usually_last == pytest.approx(4.0)
    assert before == usually_before
    others = world("leaky").platform.keys() - {"tutor_availability"}
    for table in others:
        for name, values in world("leaky").platform[table].items():
            assert values.tobytes() == world("ordinary").platform[table][name].tobytes()


# The command


@pytest.mark.parametrize(("named", "forgotten"), [({}, 0), ({"world": "flat"}, 1)])
def test_what_was_loaded_before_there_were_worlds_counts_as_ordinary(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, named: dict[str, str], forgotten: int
) -> None:
    now = platform_data._plain(Parameters(end=END))
    before = {key: value for key, value in now.items() if key != "world"} | named
    with warehouse.connect() as database:
        database.execute(
            "insert into ops.platform_loads (kind, parameters, loaded_at) values (%s, %s, %s)",
            (platform_data.SYNTHETIC, Jsonb(before), datetime.now(UTC)),
        )
    cleared: list[object] = []

    def clear(*asked: object) -> int:
        cleared.append(asked)
        return 0

    monkeypatch.setattr(store, "clear", clear)
    with warehouse.connect() as database:
        platform_data._forget_findings_of_another(database, platform_data.SYNTHETIC, now)
    assert len(cleared) == forgotten
