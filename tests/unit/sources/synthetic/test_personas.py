"""Personas lie in their bands, and planted patterns can be seen in the rows."""

from __future__ import annotations

from collections import Counter
from datetime import date

import numpy as np
import pytest

from tutor_pipeline.sources.synthetic import Parameters, Population, generate
from tutor_pipeline.sources.synthetic.population import Array

END = date(2026, 11, 19)

# Share, then bands: months, reliability, rating, share of sessions rescheduled.
BANDS = {
    "rock_star": (0.10, (36, 60), (0.85, 0.95), (4.7, 5.0), (0.0, 0.05)),
    "solid_performer": (0.50, (12, 36), (0.70, 0.85), (4.0, 4.5), (0.05, 0.12)),
    "struggling_newbie": (0.15, (1, 6), (0.50, 0.70), (3.5, 4.0), (0.10, 0.20)),
    "burned_out_veteran": (0.05, (48, 120), (0.60, 0.75), (4.1, 4.3), (0.15, 0.25)),
    "no_show_problem": (0.08, (1, 120), (0.40, 0.60), (1.0, 5.0), (0.0, 0.3)),
}


@pytest.fixture(scope="module")
def population() -> Population:
    """Busy tutors, many of them: shares of sessions say something about each."""
    return generate(Parameters(end=END, tutors=600, days=60, sessions_per_day=3000))


class Seen:
    """A population by tutor, in the order of truth.tutors."""

    def __init__(self, population: Population) -> None:
        truth, sessions = population.truth["tutors"], population.platform["sessions"]
        self.tutors = truth["tutor_id"]
        self.persona = truth["persona"].astype(str)
        self.tutor = np.searchsorted(self.tutors, sessions["tutor_id"])
        self.sessions = sessions
        planted = population.truth["planted_patterns"]
        self.planted = {
            pattern: np.searchsorted(
                self.tutors, planted["tutor_id"][planted["pattern"] == pattern.encode()]
            )
            for pattern in np.unique(planted["pattern"]).astype(str)
        }

    def per_tutor(self, marks: Array, among: Array) -> Array:
        """Share of `marks` in each tutor's sessions `among`, NaN without one."""
        size = len(self.tutors)
        held = np.bincount(self.tutor[among], minlength=size)
        hits = np.bincount(self.tutor[among & marks], minlength=size)
        return np.divide(hits, held, out=np.full(size, np.nan), where=held > 0)


@pytest.fixture(scope="module")
def seen(population: Population) -> Seen:
    return Seen(population)


@pytest.mark.parametrize("persona", BANDS)
def test_personas_lie_in_their_bands(population: Population, seen: Seen, persona: str) -> None:
    share, months, reliability, rating, reschedules = BANDS[persona]
    mine = seen.persona == persona
    assert mine.mean() == pytest.approx(share, abs=0.002)
    tutors, truth = population.platform["tutors"], population.truth["tutors"]
    for values, (low, high) in (
        (tutors["months_experience"], months),
        (tutors["reliability_score"], reliability),
        (truth["teaching_quality"], rating),
        (truth["reschedule_propensity"], reschedules),
    ):
        assert low <= values[mine].min() and values[mine].max() <= high


def test_personas_show_in_the_sessions(population: Population, seen: Seen) -> None:
    past = seen.sessions["status"] != b"scheduled"
    moved = seen.per_tutor(seen.sessions["rescheduled_by"] == b"tutor", past)
    rock, newbie = (seen.persona == name for name in ("rock_star", "struggling_newbie"))
    assert np.nanmean(moved[rock]) < 0.05
    assert 0.10 < np.nanmean(moved[newbie]) < 0.20
    feedback = population.platform["session_feedback"]
    row = np.searchsorted(seen.sessions["id"], feedback["session_id"])
    stars, who = feedback["student_satisfaction_rating"], seen.tutor[row]
    assert stars[rock[who]].mean() > 4.5
    first = seen.sessions["is_first_session"][row] == 1
    assert 3.0 < stars[newbie[who] & first].mean() < 3.5


def test_no_show_tutors_miss_three_to_eight_sessions_at_production_load() -> None:
    seen = Seen(generate(Parameters.preset("production", END)))
    missed = np.bincount(
        seen.tutor[seen.sessions["status"] == b"no_show_tutor"], minlength=len(seen.tutors)
    )
    held = np.bincount(seen.tutor, minlength=len(seen.tutors))
    mine = (seen.persona == "no_show_problem") & (held > 80)
    assert 3 <= np.median(missed[mine]) <= 8
    assert missed[mine].mean() > 3 * missed[(seen.persona != "no_show_problem")].mean()


def test_veterans_burn_out_at_the_end(population: Population, seen: Seen) -> None:
    feedback = population.platform["session_feedback"]
    row = np.searchsorted(seen.sessions["id"], feedback["session_id"])
    stars, who = feedback["student_satisfaction_rating"], seen.tutor[row]
    steady = seen.persona == "burned_out_veteran"
    steady[seen.planted["declining_veteran"]] = False
    age = np.datetime64(END) - seen.sessions["scheduled_start"][row].astype("M8[D]")
    last_week, before = age < np.timedelta64(7, "D"), age > np.timedelta64(21, "D")
    assert stars[steady[who] & before].mean() == pytest.approx(4.1, abs=0.12)
    assert stars[steady[who] & last_week].mean() == pytest.approx(3.6, abs=0.25)


def test_planted_patterns_have_their_shares(seen: Seen) -> None:
    shares = Counter({name: len(rows) / 600 for name, rows in seen.planted.items()})
    assert shares == pytest.approx(
        {
            "new_and_excellent": 0.05,
            "reschedules_on_fridays": 0.05,
            "declining_veteran": 0.03,
            "technical_trouble": 0.05,
            "weekend_only": 0.10,
            "runs_of_bad_days": 0.04,
        },
        abs=0.002,
    )


def test_planted_patterns_show(population: Population, seen: Seen) -> None:
    sessions = seen.sessions
    weekday = (sessions["scheduled_start"].astype("M8[D]").astype(np.int64) + 3) % 7
    completed, past = sessions["status"] == b"completed", sessions["status"] != b"scheduled"

    trouble = seen.per_tutor(sessions["technical_issues"] == 1, completed)
    assert np.nanmin(trouble[seen.planted["technical_trouble"]]) > 0.11
    assert np.nanmean(trouble[seen.planted["technical_trouble"]]) > 0.15

    weekends = seen.per_tutor(weekday >= 5, past)
    assert np.nanmin(weekends[seen.planted["weekend_only"]]) == 1.0

    moved = sessions["rescheduled_by"] == b"tutor"
    fridays = seen.planted["reschedules_on_fridays"]
    on_fridays = np.nanmean(seen.per_tutor(moved, past & (weekday == 4))[fridays])
    else_when = np.nanmean(seen.per_tutor(moved, past & (weekday != 4))[fridays])
    assert on_fridays > 2.5 * else_when

    tutors = population.platform["tutors"]
    new = seen.planted["new_and_excellent"]
    assert tutors["months_experience"][new].max() <= 3
    assert tutors["avg_historical_rating"][new].min() >= 4.7

    score = np.nan_to_num(sessions["overall_session_score"], nan=10.0)
    bad = seen.per_tutor(score < 5, completed)
    runs = seen.planted["runs_of_bad_days"]
    others = np.setdiff1d(np.arange(len(seen.tutors)), np.concatenate(list(seen.planted.values())))
    assert np.nanmean(bad[runs]) > 0.05
    assert np.nanmean(bad[others]) < 0.01
