"""Writes a population as a folder of CSV files in the format that `tutor-pipeline import` reads.

Belongs here: the columns of the format, and how values are written.
Does not belong here: reading CSV (the package `sources.csv`).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tutor_pipeline.sources.synthetic.population import (
    MISSING_FLAG,
    Array,
    Columns,
    Population,
    flags,
    is_missing,
    row_count,
)

# The format has only sessions that took place, were missed or were cancelled.
EXPORTED_STATUSES = (b"completed", b"no_show_tutor", b"no_show_student", b"cancelled")
ROWS_PER_CHUNK = 50_000


def export_csv(population: Population, folder: Path) -> dict[str, int]:
    """Writes one file per table of the format into `folder`. Returns the rows per file name.

    Replaces files of the same names, and removes a file whose table was not generated.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, build in _FILES.items():
        path = folder / f"{name}.csv"
        columns = build(population.platform)
        if columns is None:
            path.unlink(missing_ok=True)
            continue
        _write(path, columns)
        written[path.name] = row_count(columns)
    return written


def _write(path: Path, columns: Columns) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for start in range(0, row_count(columns), ROWS_PER_CHUNK):
            spelled = [
                _spell(values[start : start + ROWS_PER_CHUNK]) for values in columns.values()
            ]
            writer.writerows(zip(*spelled, strict=True))


def _spell(values: Array) -> list[Any]:
    """Returns a column as the format writes it: True/False, timestamps with a blank, NULL empty."""
    missing = is_missing(values)
    match values.dtype.kind:
        case "S":
            return [value.decode("ascii") for value in values.tolist()]
        case "i" if values.dtype.itemsize == 1:
            plain: list[Any] = (values == 1).tolist()
        case "M":
            plain = [str(value) for value in values.astype("M8[us]").tolist()]
        case _:
            plain = values.tolist()
    return ["" if gone else value for value, gone in zip(plain, missing.tolist(), strict=True)]


def _tutor_profiles(platform: Mapping[str, Columns]) -> Columns:
    tutors, subjects = platform["tutors"], platform["subjects"]
    names = dict(zip(subjects["id"].tolist(), subjects["name"].tolist(), strict=True))
    taught: dict[bytes, list[bytes]] = {}
    listed = platform["tutor_subjects"]
    for tutor, subject in zip(
        listed["tutor_id"].tolist(), listed["subject_id"].tolist(), strict=True
    ):
        taught.setdefault(tutor, []).append(names[subject])
    return {
        "tutor_id": tutors["user_id"],
        "months_experience": tutors["months_experience"],
        "total_sessions_completed": tutors["total_sessions_completed"],
        "avg_historical_rating": tutors["avg_historical_rating"],
        "subjects_taught": np.array([b",".join(taught[who]) for who in tutors["user_id"].tolist()]),
        "primary_subject": tutors["primary_subject"],
        "reschedule_rate": tutors["reschedule_rate"],
        "no_show_count": tutors["no_show_count"],
        "reliability_score": tutors["reliability_score"],
        "certification_level": tutors["certification_level"],
        "active_status": tutors["active_status"],
        "last_login": tutors["last_login"],
    }


def _sessions(platform: Mapping[str, Columns]) -> Columns:
    sessions = platform["sessions"]
    rows = np.flatnonzero(np.isin(sessions["status"], EXPORTED_STATUSES))
    ids, status = sessions["id"][rows], sessions["status"][rows]

    def plain(column: str) -> Array:
        return sessions[column][rows]

    def measured(table: str, column: str, scale: float = 1.0) -> Array:
        """Returns the column by session, NULL where the platform has no record."""
        source = platform[table]
        place = np.searchsorted(source["session_id"], ids)
        place = np.minimum(place, max(len(source["session_id"]) - 1, 0))
        values = source[column]
        if not len(values):
            return np.full(len(ids), np.nan)
        found = source["session_id"][place] == ids
        if values.dtype.kind == "f":
            return np.round(np.where(found, values[place] * scale, np.nan), 4)
        return np.where(found, values[place], MISSING_FLAG).astype(values.dtype)

    return {
        "session_id": ids,
        "tutor_id": plain("tutor_id"),
        "session_datetime": plain("scheduled_start"),
        "scheduled_duration_min": plain("scheduled_duration"),
        "actual_duration_min": plain("actual_duration"),
        "subject": plain("subject"),
        "grade_level": plain("grade_level"),
        "is_first_session": plain("is_first_session"),
        "session_completed": flags(status == b"completed"),
        "student_showed": flags(status != b"no_show_student"),
        "tutor_showed": flags(status != b"no_show_tutor"),
        "connection_quality": plain("connection_quality"),
        "had_technical_issues": plain("technical_issues"),
        "student_attention_pct": measured(
            "session_video_metrics", "student_on_screen_attention_pct", 100
        ),
        "tutor_camera_on_pct": measured("session_video_metrics", "tutor_camera_on_pct", 100),
        "tutor_speak_ratio": measured("session_audio_metrics", "tutor_talk_ratio"),
        "screen_share_pct": measured("session_screen_metrics", "screen_share_pct", 100),
        "overall_sentiment": measured("session_transcript_metrics", "overall_sentiment"),
        "student_sentiment": measured("session_transcript_metrics", "student_sentiment"),
        "tutor_sentiment": measured("session_transcript_metrics", "tutor_sentiment"),
        "empathy_score": measured("session_transcript_metrics", "empathy_score"),
        "clarity_score": measured("session_transcript_metrics", "clarity_score"),
        "engagement_score": measured("session_audio_metrics", "student_engagement_score"),
        "student_rating": measured("session_feedback", "student_satisfaction_rating"),
        "student_satisfaction": measured("session_feedback", "satisfaction_score"),
        "would_recommend": measured("session_feedback", "would_recommend"),
    }


def _engagement_events(platform: Mapping[str, Columns]) -> Columns | None:
    events = platform.get("engagement_events")
    if events is None or not row_count(events):
        return None
    renamed = {"occurred_at": "timestamp"}
    return {renamed.get(name, name): values for name, values in events.items()}


def _as_it_is(table: str) -> Callable[[Mapping[str, Columns]], Columns | None]:
    return lambda platform: platform.get(table)


_FILES: Mapping[str, Callable[[Mapping[str, Columns]], Columns | None]] = {
    "tutor_profiles": _tutor_profiles,
    "sessions": _sessions,
    "engagement_events": _engagement_events,
    "interventions": _as_it_is("interventions"),
    "experiments": _as_it_is("experiments"),
    "experiment_assignments": _as_it_is("experiment_assignments"),
}
