"""The 46 features, from rows whose values were worked out by hand: a tutor per case, one build."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from tutor_pipeline.core.paths import DBT_PROJECT_DIR
from tutor_pipeline.metrics import dbt
from tutor_pipeline.metrics.catalogue import metric_columns
from tutor_pipeline.metrics.features import features, page

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)  # a Wednesday
AS_OF_LATER = AS_OF + timedelta(seconds=1)
PAST = date(2026, 3, 10)
MODELS = ["+tutor_features", "tutor_departures"]
PAGE = Path(__file__).parents[3] / "docs" / "features.md"

ADA = {
    "sessions_taught_7d": 3,
    "sessions_taught_14d": 5,
    "sessions_taught_30d": 7,
    "sessions_completed_7d": 3,
    "sessions_completed_14d": 4,
    "sessions_completed_30d": 5,
    "avg_session_duration_min": 45,  # 60, 45, 30, 45; one is not known
    "session_completion_rate": 5 / 7,
    "no_show_rate": 1 / 7,
    "cancellation_rate": 1 / 7,
    "days_since_last_session": 1,
    "session_frequency_7d": 3 / 7,
    "session_frequency_14d": 4 / 14,
    "avg_rating": 3.4,  # 5, 3, 4, 2, 3
    "rating_trend": 4 - 3.4,
    "rating_volatility": sqrt(5.2 / 4),
    "positive_reviews": 2,
    "negative_reviews": 1,
    "student_retention_rate": 1 / 2,  # of p1 and p4, p1 came back
    "unique_students_30d": 3,
    "avg_student_lifetime_sessions": 8 / 2,
    "available_hours_this_week": 8,
    "available_hours_next_week": 6,
    "utilization_rate": (120 + 45 + 90 + 30) / 60 / 20,
    "instant_book_enabled": False,
    "avg_response_time_hours": (9 + 3 + 6) / 3,
    "booking_lead_time_avg_hours": (10 + 20 + 30) / 3,
    "primary_subject_count": 3,
    "subject_diversity_score": 1 - (4**2 + 1**2) / 5**2,
    "avg_rating_by_subject": (3.5 + 3.5 + 3) / 3,
    "sessions_per_subject_30d": 5 / 3,
    "subject_match_accuracy": 4 / 5,
    "certification_count": 2,
    "years_of_experience": 2.5,
    "specialization_score": 2 / 5,
    "advanced_topics_count": 1,
    "student_grade_improvement_avg": (10 + 4) / 2,
    "total_earnings_30d": 50 + 40 + 0 + 30 + 25,
    "avg_earnings_per_session": 145 / 5,
    "earnings_trend": (145 - 125) / 125,
    "premium_tier_sessions_ratio": 1 / 4,
    "discount_sessions_ratio": 1 / 4,
    "payment_disputes": 1,
    "refund_rate_30d": 1 / 4,
    "pricing_competitiveness_score": 50 / 40,
    "revenue_per_available_hour": (100 + 25 + 30 + 0) / 20,
}
NOTHING = dict.fromkeys(ADA)
IDLE = NOTHING | {
    name: 0
    for name in ADA
    if name.startswith(("sessions_taught", "sessions_completed", "session_frequency"))
}
"""A tutor without a session, on a platform that records nothing else."""
RECORDED = dict.fromkeys(
    (
        "primary_subject_count", "certification_count", "advanced_topics_count",
        "total_earnings_30d", "payment_disputes",
    ),
    0,
)  # fmt: skip
"""What is 0, and not unknown, where the platform records it of others."""
SOURCES = {
    "tutor_availability": [
        "available_hours_this_week", "available_hours_next_week", "utilization_rate",
        "instant_book_enabled", "avg_response_time_hours", "booking_lead_time_avg_hours",
        "revenue_per_available_hour",
    ],
    "session_billing": [
        "total_earnings_30d", "avg_earnings_per_session", "earnings_trend",
        "premium_tier_sessions_ratio", "discount_sessions_ratio", "payment_disputes",
        "refund_rate_30d", "revenue_per_available_hour",
    ],
    "subjects": ["subject_diversity_score", "advanced_topics_count"],
    "tutor_subjects": [
        "primary_subject_count", "subject_match_accuracy", "specialization_score",
        "advanced_topics_count",
    ],
    "tutor_certifications": ["certification_count"],
    "student_progress": ["student_grade_improvement_avg"],
    "session_feedback": [
        "avg_rating", "rating_trend", "rating_volatility", "positive_reviews", "negative_reviews",
        "avg_rating_by_subject",
    ],
    "tutors": ["years_of_experience", "pricing_competitiveness_score"],
}  # fmt: skip


class Platform:
    """Adds rows of the platform, with what a test does not care about filled in."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        self.added = 0

    def session(
        self,
        tutor: str,
        days_ago: int,
        *,
        rating: int | None = None,
        bill: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> None:
        start = datetime.combine(AS_OF.date() - timedelta(days=days_ago), time(12), UTC)
        self.added += 1
        session = f"{tutor}{self.added}"
        self.bench.add(
            "sessions",
            **{"id": session, "tutor_id": tutor, "scheduled_start": start, "status": "completed"}
            | values,
        )
        if rating is not None:
            self.bench.add(
                "session_feedback", session_id=session, student_satisfaction_rating=rating,
                submitted_at=None if days_ago else AS_OF_LATER,
            )  # fmt: skip
        if bill is not None:
            self.bench.add("session_billing", **{"session_id": session, "billed_at": start} | bill)

    def hours(
        self, tutor: str, week: date, hours: float | None, reported_at: datetime | None = None,
        instant: bool | None = None, response: float | None = None, lead: float | None = None,
    ) -> None:  # fmt: skip
        self.bench.add(
            "tutor_availability", tutor_id=tutor, week_start=week, available_hours=hours,
            instant_book_enabled=instant, avg_response_time_hours=response,
            booking_lead_time_hours=lead, reported_at=reported_at,
        )  # fmt: skip


def bill(amount: float, tier: str | None = "standard", **values: Any) -> dict[str, Any]:
    return {
        "amount": amount, "tier": tier, "is_discounted": False, "refunded_amount": 0,
        "is_disputed": False,
    } | values  # fmt: skip


def fill(platform: Platform) -> None:
    add = platform.bench.add
    for key, name, category, advanced in (
        ("mat", "Mathematics", "science", True),
        ("phy", "Physics", "science", False),
        ("lat", "Latin", "languages", False),
        ("art", "Art", "arts", None),
    ):
        add("subjects", id=key, name=name, category=category, is_advanced=advanced)
    for tutor, rate, active in (
        ("ada", 40, True), ("bob", 50, None), ("cyd", 60, True), ("gone", 500, False),
    ):  # fmt: skip
        add(
            "tutors", user_id=tutor, primary_subject="Mathematics", hourly_rate=rate,
            months_experience=30, active_status=active,
        )  # fmt: skip
    for tutor in ("edge", "late", "idle", "alien"):
        add("tutors", user_id=tutor)
    _fill_ada(platform)

    # The same session a day older or newer, at both ends of every window.
    for days_ago in (6, 7, 13, 14, 29, 30, 59, 60):
        platform.session(
            "edge", days_ago, student_id=f"p{days_ago}", actual_duration=days_ago,
            subject_id="phy", rating=1 if days_ago > 29 else 5, bill=bill(2**days_ago % 1009),
        )  # fmt: skip
    # Known too late: nothing of it counts at as_of.
    platform.session("late", 0, rating=1, subject_id="phy", bill=bill(10, billed_at=AS_OF_LATER))
    platform.session("late", 0, scheduled_start=AS_OF_LATER, bill=bill(10))
    platform.hours("late", date(2026, 3, 16), 10, AS_OF_LATER, True, 1, 1)
    platform.hours("late", date(2026, 3, 9), 10, AS_OF, False, 4, 5)
    add("tutor_certifications", tutor_id="late", name="C", issued_on=date(2026, 3, 19))
    # Teaches what nobody listed, and not what was declared; no length is known.
    add("tutor_subjects", tutor_id="alien", subject_id="art")
    platform.session("alien", 3, subject="Klingon")
    platform.session("alien", 8, subject="Klingon")
    platform.hours("alien", date(2026, 3, 9), 10)

    platform.session("gone", 40)
    platform.session("gone", 35, status="cancelled")


def _fill_ada(platform: Platform) -> None:
    add = platform.bench.add
    taught = platform.session
    taught("ada", 1, student_id="p1", actual_duration=60, scheduled_duration=90, subject_id="mat",
           rating=5, bill=bill(50, "premium"))  # fmt: skip
    taught("ada", 2, student_id="p2", actual_duration=45, subject_id="phy", rating=3, bill=bill(40))
    taught("ada", 6, student_id="p2", actual_duration=30, subject_id="phy", rating=4,
           bill=bill(20, is_discounted=True, refunded_amount=20, is_disputed=True))  # fmt: skip
    taught("ada", 7, student_id="p1", status="cancelled")
    taught("ada", 13, student_id="p1", scheduled_duration=90, subject="Mathematics", rating=2,
           bill=bill(30, is_discounted=None))  # fmt: skip
    taught("ada", 20, student_id="p2", status="no_show_tutor")
    taught("ada", 29, student_id="p3", actual_duration=45, subject_id="lat", rating=3,
           bill=bill(25, None, refunded_amount=None))  # fmt: skip
    taught("ada", 30, student_id="p1", actual_duration=120, bill=bill(100, is_disputed=True))
    taught("ada", 59, student_id="p4", is_first_session=True, bill=bill(25))
    taught("ada", 60, student_id="p5", is_first_session=True, bill=bill(1000))
    taught("ada", -1, student_id="p6", status="scheduled", bill=bill(999))
    platform.hours("ada", date(2026, 2, 9), 99, None, True, 99, 99)
    platform.hours("ada", date(2026, 2, 16), 10, None, True, 9, 10)
    platform.hours("ada", date(2026, 3, 2), 5)
    platform.hours("ada", date(2026, 3, 9), 5, datetime(2026, 3, 8, tzinfo=UTC), True, 3, 20)
    platform.hours("ada", date(2026, 3, 16), 8, datetime(2026, 3, 14, tzinfo=UTC), False, 6, 30)
    platform.hours("ada", date(2026, 3, 23), 6, AS_OF, True, 100, 100)
    platform.hours("ada", date(2026, 3, 30), 100)
    for subject in ("mat", "phy", "art"):
        add("tutor_subjects", tutor_id="ada", subject_id=subject)
    for name, issued_on in (("A", None), ("B", AS_OF.date()), ("C", date(2026, 3, 19))):
        add("tutor_certifications", tutor_id="ada", name=name, issued_on=issued_on)
    for student, days_ago, change in (
        ("p1", 17, 10), ("p2", 0, 4), ("p3", -1, 100), ("p1", 60, 50), ("p9", 5, 70),
    ):  # fmt: skip
        add(
            "student_progress", student_id=student, tutor_id="ada", grade_change_pct=change,
            measured_on=AS_OF.date() - timedelta(days=days_ago),
        )  # fmt: skip


@pytest.fixture(scope="module")
def built(bench: Any) -> Any:
    fill(Platform(bench))
    bench.refresh(AS_OF, days=(PAST, PAST), select=[*MODELS, "tutor_aggregates_history"])
    return bench


def of(bench: Any, tutor: str) -> dict[str, Any]:
    """The features of one tutor."""
    row = bench.row("select * from {marts}.tutor_features where tutor_id = %s", tutor)
    assert row.pop("tutor_id") == tutor
    assert row.pop("as_of") == AS_OF
    return row


def every_row(bench: Any) -> list[dict[str, Any]]:
    return bench.rows("select * from {marts}.tutor_features order by tutor_id")


def test_the_table_has_the_46_features_in_their_order_and_groups(built: Any) -> None:
    sizes = [column.group for column in features().values()]
    assert {group: sizes.count(group) for group in sizes} == {
        "session": 13, "satisfaction": 8, "availability": 6, "subject": 10, "financial": 9,
    }  # fmt: skip
    assert list(features()) == list(ADA)
    assert all(column.unit for column in features().values())
    assert list(every_row(built)[0]) == list(metric_columns()["tutor_features"])


@pytest.mark.parametrize("feature", ADA)
def test_a_feature_is_what_was_worked_out_by_hand(built: Any, feature: str) -> None:
    assert of(built, "ada")[feature] == pytest.approx(ADA[feature], rel=1e-12)


def test_a_tutor_without_rows_has_no_values_and_no_counts(built: Any) -> None:
    assert of(built, "idle") == IDLE | RECORDED


def test_windows_end_where_they_should(built: Any) -> None:
    row = of(built, "edge")
    assert row["sessions_taught_7d"] == row["sessions_completed_7d"] == 1
    assert row["sessions_taught_14d"] == row["sessions_completed_14d"] == 3
    assert row["sessions_taught_30d"] == row["sessions_completed_30d"] == 5
    assert row["avg_session_duration_min"] == (6 + 7 + 13 + 14 + 29) / 5
    assert row["avg_rating_by_subject"] == row["avg_rating"] == 5
    now = sum(2**day % 1009 for day in (6, 7, 13, 14, 29))
    before = sum(2**day % 1009 for day in (30, 59))
    assert row["total_earnings_30d"] == now
    assert row["earnings_trend"] == pytest.approx((now - before) / before)
    assert row["student_retention_rate"] == 0
    assert row["subject_match_accuracy"] is None  # declares nothing
    assert row["primary_subject_count"] == 0


def test_what_became_known_after_as_of_does_not_count(built: Any) -> None:
    row = of(built, "late")
    assert row["sessions_taught_7d"] == 1
    side_tables = list(ADA)[list(ADA).index("available_hours_this_week") :]
    assert {name: row[name] for name in side_tables if row[name] is not None} == RECORDED | {
        "utilization_rate": 0,
        "instant_book_enabled": False,
        "avg_response_time_hours": 4,
        "booking_lead_time_avg_hours": 5,
        "revenue_per_available_hour": 0,
        "subject_diversity_score": 0,
        "sessions_per_subject_30d": 1,
    }


def test_unlisted_subjects_and_unknown_lengths(built: Any) -> None:
    row = of(built, "alien")
    assert (row["subject_match_accuracy"], row["specialization_score"]) == (0, 0)
    assert row["sessions_per_subject_30d"] == 2
    assert row["subject_diversity_score"] is None
    assert row["utilization_rate"] is row["avg_session_duration_min"] is None
    assert (row["primary_subject_count"], row["advanced_topics_count"]) == (1, 0)


def test_who_has_left_has_a_departure_and_no_features(built: Any) -> None:
    departures = built.rows("select * from {marts}.tutor_departures")
    assert departures == [{"tutor_id": "gone", "departed_on": AS_OF.date() - timedelta(days=39)}]
    assert "gone" not in {row["tutor_id"] for row in every_row(built)}


def test_the_page_in_the_docs_is_that_of_the_models() -> None:
    assert PAGE.read_text("utf-8") == page(), (
        "write it anew: python -m tutor_pipeline.metrics.features > docs/features.md"
    )


@pytest.mark.usefixtures("as_it_was")
def test_a_refresh_of_some_tutors_gives_what_one_of_all_does(built: Any) -> None:
    platform = Platform(built)
    platform.added = 1000
    platform.session("bob", 3, rating=4, student_id="p1", subject_id="phy", bill=bill(33))
    platform.hours("bob", date(2026, 3, 16), 12)
    before = of(built, "bob")
    built.refresh(AS_OF, tutors=["bob", "nobody"], select=MODELS)
    scoped = every_row(built)
    assert of(built, "bob") != before
    built.refresh(AS_OF, select=MODELS)
    assert every_row(built) == scoped


@pytest.mark.usefixtures("as_it_was")
def test_features_are_made_anew_for_all_when_the_wide_rows_are(built: Any) -> None:
    """The platform's first reschedule concerns every wide row."""
    Platform(built).session("cyd", 1, status="rescheduled", rescheduled_by="tutor")
    built.refresh(AS_OF_LATER, tutors=["cyd"], select=MODELS)
    assert {row["as_of"] for row in every_row(built)} == {AS_OF_LATER}


@pytest.mark.usefixtures("as_it_was")
def test_history_gives_what_a_refresh_at_the_end_of_that_day_gives(built: Any) -> None:
    """The same text over another base: what lies after the day changes nothing."""
    file = DBT_PROJECT_DIR / "models/marts/tutor_features_history.sql"
    read = " ".join(re.findall(r"\{\{ ref\(.*?\) \}\}", file.read_text(encoding="utf-8")))
    base = """{{ text_of('tutor_features', {
        'base': ref('tutor_aggregates_history'), 'scope': 'true',
        'first_day': "date '%s'", 'last_day': "date '%s'",
    }) }}"""
    environment = dbt.dbt_environment(built.warehouse, None, built.home)
    inline = f"-- depends_on: {read}\n" + base % (PAST, PAST)
    compiled = dbt.invoke(["compile", "--inline", inline], environment).result
    past = {row["tutor_id"]: row for row in built.rows(compiled.results[0].node.compiled_code)}
    built.refresh(datetime.combine(PAST, time.max, UTC), select=MODELS)
    then = {row["tutor_id"]: row for row in every_row(built)}
    assert past.keys() - then.keys() == {"gone"}  # who has left since
    both = past.keys() & then.keys()
    assert {"ada", "edge", "alien"} <= both
    assert {tutor: past[tutor] for tutor in both} == {tutor: then[tutor] for tutor in both}


@pytest.mark.usefixtures("as_it_was")
def test_without_its_source_a_feature_is_unknown(built: Any) -> None:
    for table in SOURCES:
        built.execute(f"drop table {{platform}}.{table}")
    built.refresh(AS_OF, select=MODELS)
    row = of(built, "ada")
    unknown = {name for names in SOURCES.values() for name in names}
    assert {name for name, value in row.items() if value is None} == unknown
    assert {name: row[name] for name in RECORDED} == dict.fromkeys(RECORDED)
    assert row["sessions_per_subject_30d"] == pytest.approx(5 / 4)  # by name or id: not joined
