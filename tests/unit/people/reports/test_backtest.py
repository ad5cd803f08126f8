"""The back-test's report: one file without script or links, every figure in it, nothing trusted."""

from __future__ import annotations

import copy
import re
from datetime import date

import pytest

from tutor_pipeline.people.reports.backtest import render

MADE_ON = date(2026, 8, 1)


def figure(value, half=0.05):
    return {"value": value, "lower": value - half, "upper": value + half}


def scorer(name, auc, found, **more):
    return {
        "scorer": name,
        "version": "1",
        "is_probability": False,
        "is_ceiling": False,
        "figures": {
            "auc": figure(auc),
            "average_precision": figure(0.31),
            "recall_at_15_percent_false_flags": figure(found),
            "calibration_slope": {"value": None, "lower": None, "upper": None},
        },
        "levels": [],
        "curve": [[0.1, 1.0], [0.5, 0.4], [1.0, 0.1]],
        "bins": [],
        **more,
    }


def target(name, horizon, scorers):
    return {
        "target": name,
        "horizon_days": horizon,
        "dates": 8,
        "rows": 2_000,
        "positives": 200,
        "tutors": 300,
        "leavers": 41,
        "scorers": scorers,
    }


@pytest.fixture
def content():
    rates = [{"level": "High", "rows": 120, "observed": figure(0.34)}]
    model = {"is_probability": True, "bins": [[0.01, 0.02, 900], [0.2, 0.15, 100]]}
    oracle = scorer("oracle", 0.77, 0.5, is_ceiling=True)
    return {
        "first_as_of": date(2026, 3, 1),
        "last_as_of": date(2026, 5, 1),
        "dates": 8,
        "rows": 2_000,
        "tutors": 300,
        "left_out": {"silent_too_long": 12, "recorded_later": 3},
        "notes": [],
        "targets": [
            target(
                "state",
                0,
                [
                    scorer("signals_v1", 0.66, 0.61, levels=rates),
                    scorer("departure_v1", 0.9, 0.83),
                    scorer("oracle", 1.0, 1.0, is_ceiling=True),
                ],
            ),
            target("departure", 30, [scorer("departure_v1", 0.71, 0.4, **model), oracle]),
        ],
    }


def words(page):
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).split())


def test_it_is_one_light_file_with_nothing_from_outside(content):
    page = render(content, MADE_ON)
    assert len(page) < 100_000
    assert "default-src 'none'" in page
    assert not re.search(r"<script|<link|<img|\bsrc=|\bhref=|url\(|@import|https?:", page)
    assert page == render(content, MADE_ON)


def test_it_says_what_was_tested_and_what_left_out(content):
    said = words(render(content, MADE_ON))
    assert "8 past days from 2026-03-01 to 2026-05-01" in said
    assert "2,000 rows of 300 tutors" in said
    assert "41 tutors" in said
    assert "12 rows: the tutor had not completed a session for over 45 days" in said
    assert "3 rows: held something that was recorded after the day it is for" in said


def test_figures_stand_with_their_ranges_and_what_nobody_has_is_no_row(content):
    said = words(render(content, MADE_ON))
    assert "0.71 0.66 to 0.76" in said
    assert "34 % 29 % to 39 %" in said
    assert "Calibration slope" not in said
    assert "None" not in said


def test_the_goal_is_met_by_the_best_honest_one_and_the_ceiling_stands_beside(content):
    said = words(render(content, MADE_ON))
    assert "The goal is met: 83 % of the tutors at risk found" in said
    assert "which may be luck" in said
    assert "Forecast: documented weights and recorded departures finds 83 %" in said
    assert "Signals, the literal rule 61 %" in said
    assert "ranks right in only 77 % of the cases" in said


def test_a_goal_not_reached_is_not_glossed_over(content):
    content["targets"][0]["scorers"].pop(1)
    said = words(render(content, MADE_ON))
    assert "The goal is not met: 61 % of the tutors at risk found" in said


def test_without_the_truth_there_is_no_goal(content):
    content["targets"].pop(0)
    said = words(render(content, MADE_ON))
    assert "The goal" not in said
    assert "Which tutors leave within 30 days" in said


def test_every_scorer_of_a_back_test_has_a_name(content):
    names = {
        "departure_v1": "Forecast: documented weights and recorded departures",
        "departure_v1_priors": "The same, nothing learned",
        "departures_alone": "Taught on departures alone",
        "oracle": "Ceiling: sees the hidden state",
    }
    content["targets"] = [target("departure", 30, [scorer(name, 0.7, 0.4) for name in names])]
    said = words(render(content, MADE_ON))
    for name, shown in names.items():
        assert f"{shown} {name} 1" in said


def test_plots_are_drawn_from_the_figures(content):
    page = render(content, MADE_ON)
    assert 'd="M10.0 0.0L50.0 60.0L100.0 90.0"' in page
    assert "foretold 20 %, happened 15 %, 100 rows" in page
    assert page.count("<svg") == 3


def test_nothing_tested_is_still_a_page(content):
    content["targets"] = []
    content["notes"] = ["Not asked: departure. No day has an outcome that is known."]
    said = words(render(content, MADE_ON))
    assert "No day has an outcome that is known" in said


@pytest.mark.parametrize("at", ["scorer", "version", "note", "left_out"])
def test_a_hostile_text_stays_text(content, at):
    hostile = "<script>alert(1)</script>"
    planted = copy.deepcopy(content)
    if at == "note":
        planted["notes"] = [hostile]
    elif at == "left_out":
        planted["left_out"] = {hostile: 1}
    else:
        planted["targets"][0]["scorers"][0][at] = hostile
    page = render(planted, MADE_ON)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_students_are_named_as_such(content):
    content["targets"].append(
        target("student_departure", 30, [scorer("student_departure_v1", 0.72, 0.4)])
    )
    said = words(render(content, MADE_ON))
    assert "C. Which students leave within 30 days" in said
    assert "Has the student left for good 30 days later?" in said
    assert "41 students" in said
