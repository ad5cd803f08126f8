"""The default population is an ordinary month: few tutors need attention, for mixed reasons.

The eight conditions of the conservative profile are counted here from their definitions, in
plain Python and from the generated rows alone: neither the pipeline's SQL nor its rules are used.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from statistics import mean, median
from typing import Any

import pytest

from tutor_pipeline.sources.synthetic import Parameters, Population, generate
from tutor_pipeline.sources.synthetic.population import is_missing

pytestmark = pytest.mark.slow

END = date(2026, 11, 19)


def rows(population: Population, table: str, *names: str) -> list[tuple[Any, ...]]:
    """The rows of a table as Python values, None for NULL."""
    columns = []
    for name in names:
        values = population.platform[table][name]
        plain = values.astype(str).tolist() if values.dtype.kind == "S" else values.tolist()
        missing = is_missing(values).tolist()
        columns.append(
            [None if gone else value for value, gone in zip(plain, missing, strict=True)]
        )
    return list(zip(*columns, strict=True))


def fallback_score(
    engagement: float | None,
    rating: float | None,
    clarity: float | None,
    empathy: float | None,
    talk: float | None,
) -> float | None:
    if engagement is None and rating is None:
        return None
    balance = None if talk is None else 10 * max(0.0, 1 - abs(talk - 0.45) / 0.35)
    parts = [
        (0.35, engagement),
        (0.30, None if rating is None else 2 * rating),
        (0.15, clarity),
        (0.10, empathy),
        (0.10, balance),
    ]
    present = [(weight, value) for weight, value in parts if value is not None]
    return sum(w * v for w, v in present) / sum(w for w, _ in present)


class Month:
    """A population as a person with a pencil would go through it."""

    def __init__(self, population: Population) -> None:
        audio = {
            row[0]: row[1:]
            for row in rows(
                population,
                "session_audio_metrics",
                "session_id",
                "tutor_talk_ratio",
                "student_engagement_score",
                "student_frustration_count",
            )
        }
        words = {
            row[0]: row[1:]
            for row in rows(
                population,
                "session_transcript_metrics",
                "session_id",
                "clarity_score",
                "empathy_score",
            )
        }
        stars = dict(
            rows(population, "session_feedback", "session_id", "student_satisfaction_rating")
        )
        active = rows(population, "tutors", "user_id", "active_status")
        self.tutors = [tutor for tutor, is_active in active if is_active]
        self.sessions: dict[str, list[dict[str, Any]]] = defaultdict(list)
        names = (
            "id tutor_id scheduled_start actual_start status rescheduled_by session_number"
            " overall_session_score"
        ).split()
        for values in rows(population, "sessions", *names):
            row = dict(zip(names, values, strict=True))
            talk, engagement, frustration = audio.get(row["id"], (None, None, None))
            clarity, empathy = words.get(row["id"], (None, None))
            row["talk"], row["frustration"] = talk, frustration
            row["score"] = row["overall_session_score"]
            if row["score"] is None:
                row["score"] = fallback_score(
                    engagement, stars.get(row["id"]), clarity, empathy, talk
                )
            self.sessions[row["tutor_id"]].append(row)

    def findings(self, day: date) -> dict[str, set[str]]:
        """Tutor → the conservative alerts that hold at the end of `day`."""
        found = {tutor: self._findings(tutor, day) for tutor in self.tutors}
        return {tutor: alerts for tutor, alerts in found.items() if alerts}

    def _findings(self, tutor: str, day: date) -> set[str]:
        def window(after: int, until: int = 0) -> list[dict[str, Any]]:
            """Sessions at least `until` and under `after` days old, newest first."""
            return [
                row
                for row in reversed(self.sessions[tutor])
                if until <= (day - row["scheduled_start"].date()).days < after
            ]

        month = window(30)
        done = [row for row in window(90) if row["status"] == "completed"]
        recent = [row for row in done if row in window(14)]

        def scores(after: int, until: int = 0) -> list[float]:
            return [
                row["score"]
                for row in window(after, until)
                if row["status"] == "completed" and row["score"] is not None
            ]

        now, before = scores(14), scores(28, 14)
        streak = 0
        for score in scores(90):
            if score >= 5.0:
                break
            streak += 1
        late = [
            row
            for row in month
            if row["status"] == "completed"
            and row["actual_start"] is not None
            and row["actual_start"] - row["scheduled_start"] > timedelta(minutes=5)
        ]
        poor_firsts = [
            row
            for row in window(60)
            if row["status"] == "completed"
            and row["session_number"] == 1
            and row["score"] is not None
            and row["score"] < 6.0
        ]
        talks = [row["talk"] for row in done if row["talk"] is not None][:5]
        holds = {
            "no_show_pattern": sum(row["status"] == "no_show_tutor" for row in month) >= 3,
            "high_reschedule_rate": sum(
                row["status"] == "rescheduled" and row["rescheduled_by"] == "tutor" for row in month
            )
            >= 5,
            "chronic_lateness": len(late) >= 4,
            "declining_performance": len(now) >= 3
            and len(before) >= 3
            and mean(now) - mean(before) <= -2.5,
            "consistently_poor_scores": streak >= 3,
            "repeated_student_frustration": sum((row["frustration"] or 0) >= 1 for row in recent)
            >= 3,
            "poor_first_session_pattern": len(poor_firsts) >= 3,
            "extreme_talk_ratio": len(talks) == 5 and mean(talks) >= 0.75,
        }
        return {name for name, is_true in holds.items() if is_true}


def month_of(seed: int, end: date = END) -> Month:
    return Month(generate(Parameters(end=end, seed=seed)))


def kinds(findings: dict[str, set[str]]) -> set[str]:
    return set().union(*findings.values())


@pytest.mark.parametrize("weekday", range(7))
def test_default_population_is_ordinary_on_every_weekday(weekday: int) -> None:
    """As of the end, and of the next days: a demo runs the day after the end, or later."""
    end = END + timedelta(days=weekday)
    month = month_of(Parameters(end=end).seed, end)
    counts = [len(month.findings(end + timedelta(days=later))) for later in range(3)]
    assert all(3 <= count <= 8 for count in counts), counts
    assert len(kinds(month.findings(end))) >= 3


def test_default_population_stays_calm_before_and_after() -> None:
    month = month_of(Parameters(end=END).seed)
    counts = [len(month.findings(END + timedelta(days=shift))) for shift in range(-21, 8, 2)]
    assert 0 < max(counts) <= 12


def test_only_the_weekday_of_the_end_matters() -> None:
    """So that seven ends stand for all: a week later the same rows come, a week later."""
    first, second = (
        generate(Parameters(end=END + timedelta(weeks=weeks))).platform for weeks in (0, 1)
    )
    for name, values in first["sessions"].items():
        later = second["sessions"][name]
        if values.dtype.kind == "M":
            there = ~is_missing(values)
            assert (is_missing(later) == ~there).all()
            assert (later[there] - values[there] == timedelta(weeks=1)).all()
        else:
            assert later.tobytes() == values.tobytes()


def spread(seeds: range) -> tuple[list[int], set[str]]:
    found = [month_of(seed).findings(END) for seed in seeds]
    return [len(findings) for findings in found], set().union(*map(kinds, found))


def test_other_seeds_are_ordinary_too() -> None:
    counts, types = spread(range(1, 13))
    assert 3 <= median(counts) <= 8
    assert max(counts) <= 12, counts
    assert len(types) >= 6


@pytest.mark.long
def test_many_seeds_are_ordinary() -> None:
    counts, types = spread(range(100, 220))
    assert 3 <= median(counts) <= 8
    # Chance alone puts about one month in a hundred beyond twelve.
    assert sum(count > 12 for count in counts) <= 4, counts
    assert len(types) == 8


def test_the_count_sees_what_is_there() -> None:
    """The yardstick itself: three missed sessions in thirty days are found, two are not."""
    month = month_of(1)
    tutor = month.tutors[0]

    def missed(days: list[int]) -> set[str]:
        month.sessions[tutor] = [
            {
                "id": f"X{day}",
                "scheduled_start": datetime(2026, 11, 19, 12, tzinfo=UTC) - timedelta(days=day),
                "status": "no_show_tutor",
                "rescheduled_by": None,
            }
            for day in sorted(days, reverse=True)
        ]
        return month.findings(END).get(tutor, set())

    assert missed([0, 10, 29]) == {"no_show_pattern"}
    assert missed([0, 10, 30]) == set()
