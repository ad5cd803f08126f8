"""The CSV export: files, columns and spelling of the format, and the same facts in it."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest

from tutor_pipeline.sources.csv.format import csv_format
from tutor_pipeline.sources.synthetic import Parameters, Population, generate
from tutor_pipeline.sources.synthetic.export import export_csv

END = date(2026, 11, 19)

COLUMNS = {
    "tutor_profiles.csv": "tutor_id months_experience total_sessions_completed"
    " avg_historical_rating subjects_taught primary_subject reschedule_rate no_show_count"
    " reliability_score certification_level active_status last_login",
    "sessions.csv": "session_id tutor_id session_datetime scheduled_duration_min"
    " actual_duration_min subject grade_level is_first_session session_completed student_showed"
    " tutor_showed connection_quality had_technical_issues student_attention_pct"
    " tutor_camera_on_pct tutor_speak_ratio screen_share_pct overall_sentiment student_sentiment"
    " tutor_sentiment empathy_score clarity_score engagement_score student_rating"
    " student_satisfaction would_recommend",
    "engagement_events.csv": "event_id tutor_id event_type event_data timestamp",
    "interventions.csv": "intervention_id tutor_id intervention_type channel subject content"
    " template_id experiment_id experiment_variant sent_at delivered_at opened_at clicked_at"
    " responded_at status engagement_before engagement_after sessions_before_count"
    " sessions_after_count",
    "experiments.csv": "experiment_id name hypothesis description variants target_segment"
    " primary_metric secondary_metrics start_date end_date status sample_size significance winner",
    "experiment_assignments.csv": "experiment_id tutor_id variant assigned_at exposed_at"
    " converted_at conversion_value",
}

# Column: lowest and highest value that the format allows.
BOUNDS = {
    "student_attention_pct": (0, 100),
    "tutor_camera_on_pct": (0, 100),
    "screen_share_pct": (0, 100),
    "tutor_speak_ratio": (0, 1),
    "overall_sentiment": (-1, 1),
    "empathy_score": (1, 10),
    "clarity_score": (1, 10),
    "engagement_score": (1, 10),
    "student_rating": (1, 5),
    "student_satisfaction": (1, 10),
}


@pytest.fixture(scope="module")
def population() -> Population:
    return generate(Parameters(end=END))


@pytest.fixture(scope="module")
def folder(population: Population, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "made here"
    counts = export_csv(population, path)
    assert counts == {name: len(lines(path / name)) for name in COLUMNS}
    return path


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_those_of_the_format(folder: Path, name: str) -> None:
    assert (folder / name).read_text().splitlines()[0].split(",") == COLUMNS[name].split()


def test_sessions_carry_their_status_in_three_flags(population: Population, folder: Path) -> None:
    def status(row: dict[str, str]) -> bytes:
        if row["session_completed"] == "True":
            return b"completed"
        if row["tutor_showed"] == "False":
            return b"no_show_tutor"
        return b"no_show_student" if row["student_showed"] == "False" else b"cancelled"

    sessions = population.platform["sessions"]
    known = Counter(sessions["status"].tolist())
    del known[b"scheduled"], known[b"rescheduled"]
    rows = lines(folder / "sessions.csv")
    assert Counter(map(status, rows)) == known
    expected = dict(zip(sessions["id"].tolist(), sessions["status"].tolist(), strict=True))
    assert all(expected[row["session_id"].encode()] == status(row) for row in rows)


def measured() -> dict[str, tuple[str, str, float]]:
    """Column of the file → table and column of the platform, and how often its unit goes into that
    of the platform; as the import reads it.
    """
    (file,) = (each for each in csv_format().files if each.name == "sessions.csv")
    scales = {"number": 1.0, "share": 1.0, "percent": 100.0}
    numbers = {column.name: scales[column.type] for column in file.columns if column.type in scales}
    found = {}
    for target in file.targets:
        for column, expression in target.columns.items():
            if expression in numbers:
                found[expression] = (target.table, column, numbers[expression])
    assert found.keys() == numbers.keys()
    return found


def test_measured_values_are_those_of_the_platform(population: Population, folder: Path) -> None:
    rows = {row["session_id"]: row for row in lines(folder / "sessions.csv")}
    for name, (table, column, scale) in measured().items():
        source = population.platform[table]
        known = dict(zip(source["session_id"].astype(str), source[column], strict=True))
        filled = {key: float(row[name]) for key, row in rows.items() if row[name]}
        assert filled == pytest.approx(
            {key: value * scale for key, value in known.items() if not np.isnan(value)}
        ), name
    feedback = population.platform["session_feedback"]
    recommended = dict(
        zip(feedback["session_id"].astype(str), feedback["would_recommend"], strict=True)
    )
    spelled = {1: "True", 0: "False"}
    for key, row in rows.items():
        assert row["would_recommend"] == spelled.get(recommended.get(key), "")


def test_values_keep_the_bounds_and_spelling_of_the_format(folder: Path) -> None:
    rows = lines(folder / "sessions.csv")
    for column, (low, high) in BOUNDS.items():
        values = [float(row[column]) for row in rows if row[column]]
        assert low <= min(values) and max(values) <= high, column
        assert 0 < len(values) < len(rows)
    assert {row["had_technical_issues"] for row in rows} == {"True", "False", ""}
    assert {row["connection_quality"] for row in rows} == {"Excellent", "Good", "Fair", "Poor", ""}
    for row in rows[:50]:
        datetime.strptime(row["session_datetime"], "%Y-%m-%d %H:%M:%S")
    for event in lines(folder / "engagement_events.csv")[:200]:
        json.loads(event["event_data"])


def test_profiles_list_the_subjects_of_a_tutor(population: Population, folder: Path) -> None:
    profiles = lines(folder / "tutor_profiles.csv")
    assert len(profiles) == 150
    assert all(row["primary_subject"] in row["subjects_taught"].split(",") for row in profiles)
    listed = sum(len(row["subjects_taught"].split(",")) for row in profiles)
    assert listed == len(population.platform["tutor_subjects"]["tutor_id"])
    assert Counter(row["active_status"] for row in profiles) == {"True": 138, "False": 12}


def test_exporting_again_replaces_and_removes(tmp_path: Path) -> None:
    export_csv(generate(Parameters.preset("dev", END)), tmp_path)
    bare = generate(Parameters.preset("dev", END, seed=3, engagement_events=False))
    export_csv(bare, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == COLUMNS.keys() - {"engagement_events.csv"}
    first = lines(tmp_path / "sessions.csv")[0]
    kept = np.isin(bare.platform["sessions"]["status"], (b"scheduled", b"rescheduled"))
    assert first["tutor_id"].encode() == bare.platform["sessions"]["tutor_id"][~kept][0]
