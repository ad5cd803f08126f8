"""What the platform records about sessions: metrics, feedback, bills, highlights.

Belongs here: the tables that carry a session's id.
Does not belong here: which sessions there are (sessions.py), people and calendars (profiles.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tutor_pipeline.sources.synthetic.burnout import HiddenDays
from tutor_pipeline.sources.synthetic.measurements import (
    ATTENTION,
    TUTOR_SENTIMENT,
    Latents,
    measure,
    score_around,
)
from tutor_pipeline.sources.synthetic.names import (
    FEEDBACK_TAGS,
    FEEDBACK_TEXTS,
    HIGHLIGHTS,
    STUDENT_REASONS,
    TUTOR_REASONS,
)
from tutor_pipeline.sources.synthetic.parameters import Parameters
from tutor_pipeline.sources.synthetic.personas import Traits
from tutor_pipeline.sources.synthetic.population import (
    Array,
    Columns,
    blank,
    flags,
    make_ids,
    pick,
    stream,
    text,
)
from tutor_pipeline.sources.synthetic.profiles import People
from tutor_pipeline.sources.synthetic.sessions import CONNECTIONS, Timetable
from tutor_pipeline.sources.synthetic.statuses import (
    CANCELLED,
    NO_SHOW_STUDENT,
    NO_SHOW_TUTOR,
    RESCHEDULED,
    SCHEDULED,
    STATUSES,
)

# Shares of completed sessions that have each kind of record.
COVERAGE = {"audio": 0.95, "video": 0.70, "screen": 0.60, "transcript": 0.92, "feedback": 0.60}
SCORED_SHARE = 0.94  # of completed sessions have the platform's own score
HIGHLIGHTED_SHARE = 0.20  # of sessions with a transcript have a highlight
START_KNOWN_SHARE = 0.97

FRUSTRATION_RATE = 0.034  # per session of ordinary quality


@dataclass(frozen=True, slots=True)
class Moments:
    """Timestamps of every session, M8[us], UTC."""

    scheduled: Array
    actual: Array  # NaT where unknown or not held
    completed: Array
    created: Array
    updated: Array
    actual_minutes: Array


def observe(
    parameters: Parameters,
    traits: Traits,
    hidden: HiddenDays,
    timetable: Timetable,
    people: People,
) -> tuple[dict[str, Columns], Moments, Latents]:
    """Returns the platform's session tables, ordered by scheduled start."""
    rng = stream(parameters.seed, "observations")
    latents = measure(rng, traits, timetable)
    moments = _moments(rng, parameters, traits, hidden, timetable)
    ids = make_ids("S", np.arange(1, len(timetable.tutor) + 1), 6, len(timetable.tutor))
    followed = _followed_up(timetable)
    end = np.datetime64(parameters.end) + np.timedelta64(1, "D")
    tables = record(rng, traits, timetable, people, latents, moments, ids, followed, end)
    return tables, moments, latents


def record(
    rng: np.random.Generator,
    traits: Traits,
    timetable: Timetable,
    people: People,
    latents: Latents,
    moments: Moments,
    ids: Array,
    followed: Array,
    until: np.datetime64 | None = None,
) -> dict[str, Columns]:
    """Returns the session tables of these sessions, with the records that the platform has.

    `followed` is True where the pair meets again. Feedback submitted from `until` on is left out.
    """
    tables: dict[str, Columns] = {
        "sessions": _sessions(rng, timetable, people, latents, moments, ids, followed)
    }
    recorded = {
        name: np.flatnonzero(timetable.completed & (rng.random(len(ids)) < share))
        for name, share in COVERAGE.items()
    }
    tables |= _metrics(rng, traits, timetable, latents, moments, ids, recorded)
    tables |= _feedback(rng, timetable, latents, moments, ids, recorded["feedback"], until)
    tables |= _highlights(rng, timetable, ids, recorded["transcript"])
    tables |= _billing(rng, timetable, people, moments, ids)
    return tables


def punctuality(
    rng: np.random.Generator, traits: Traits, timetable: Timetable
) -> tuple[Array, Array]:
    """Draws how late each session begins (m8[s], negative: early), and its length in minutes."""
    size = len(timetable.tutor)
    late = rng.random(size) < traits.lateness[timetable.tutor]
    minutes = np.where(
        late, 6 + rng.gamma(1.5, 4.0, size), np.clip(rng.normal(0, 1.6, size), -5, 4)
    )
    planned = timetable.duration
    short = timetable.technical * rng.uniform(0, 0.15, size)
    lasted = np.round(planned * (1 - short) + rng.normal(0, 3, size)).astype(np.int32)
    lasted = np.clip(lasted, 15, planned + 8).astype(np.int32)
    return np.round(minutes * 60).astype("m8[s]"), lasted


def _moments(
    rng: np.random.Generator,
    parameters: Parameters,
    traits: Traits,
    hidden: HiddenDays,
    timetable: Timetable,
) -> Moments:
    """Draws when each session was booked, scheduled, begun and over."""
    size = len(timetable.tutor)
    origin = np.datetime64(parameters.end) - np.timedelta64(parameters.days - 1, "D")
    scheduled = origin + timetable.start_minute().astype("m8[m]")
    late, lasted = punctuality(rng, traits, timetable)
    begun = scheduled.astype("M8[us]") + late
    over = begun + lasted.astype("m8[m]")

    created = scheduled - timetable.lead.astype("m8[m]")
    # Sessions after the end were booked before it.
    end = np.datetime64(parameters.end) + np.timedelta64(1, "D")
    known = end - np.round(rng.exponential(1800, size) + 1).astype("m8[m]")
    created = np.where(timetable.status == SCHEDULED, np.minimum(created, known), created)
    # A tutor who leaves cancels the remaining sessions on the day of leaving.
    left_at = hidden.left_on[timetable.tutor] * 1440 + rng.integers(9 * 60, 17 * 60, size)
    left_at = np.where(timetable.given_up, left_at, 0).astype("m8[m]")
    given_up_at = np.minimum(origin + left_at, scheduled - np.timedelta64(1, "h"))
    called_off = np.isin(timetable.status, (CANCELLED, RESCHEDULED))
    notice = scheduled - np.round((scheduled - created).astype(np.int64) * 0.3).astype("m8[m]")
    missed = scheduled + np.timedelta64(20, "m")
    updated = np.select(
        [timetable.given_up, timetable.completed, called_off, timetable.status == SCHEDULED],
        [given_up_at.astype("M8[us]"), over, notice.astype("M8[us]"), created.astype("M8[us]")],
        default=missed.astype("M8[us]"),
    )
    not_held = ~timetable.completed
    return Moments(
        scheduled=scheduled.astype("M8[us]"),
        actual=blank(begun, not_held | (rng.random(size) >= START_KNOWN_SHARE)),
        completed=blank(over, not_held),
        created=created.astype("M8[us]"),
        updated=updated,
        actual_minutes=blank(lasted, not_held),
    )


def _sessions(
    rng: np.random.Generator,
    timetable: Timetable,
    people: People,
    latents: Latents,
    moments: Moments,
    ids: Array,
    followed: Array,
) -> Columns:
    """Returns the sessions table."""
    size, status = len(ids), timetable.status
    due = timetable.completed | np.isin(status, (NO_SHOW_TUTOR, NO_SHOW_STUDENT))
    moved = status == RESCHEDULED
    by_tutor = moved & ~timetable.by_student
    reasons_of_tutors = text(TUTOR_REASONS)[rng.integers(0, len(TUTOR_REASONS), size)]
    reasons_of_students = text(STUDENT_REASONS)[rng.integers(0, len(STUDENT_REASONS), size)]
    unscored = ~timetable.completed | (rng.random(size) >= SCORED_SHARE)
    subject = people.subject_of_pair[timetable.pair]
    # Some pairs meet again without a booking, and some bookings are never held.
    booked = followed ^ (rng.random(size) < np.where(followed, 0.06, 0.03))
    return {
        "id": ids,
        "tutor_id": people.tutor_ids[timetable.tutor],
        "student_id": people.student_ids[timetable.student],
        "scheduled_start": moments.scheduled,
        "actual_start": moments.actual,
        "scheduled_duration": timetable.duration.astype(np.int32),
        "actual_duration": moments.actual_minutes,
        "status": text(STATUSES)[status],
        "subject_id": people.subject_ids[subject],
        "subject": people.subject_names[subject],
        "session_number": timetable.number.astype(np.int32),
        "is_first_session": flags(timetable.is_first),
        "tutor_showed_up": flags(status != NO_SHOW_TUTOR, ~due),
        "student_showed_up": flags(status != NO_SHOW_STUDENT, ~due),
        "rescheduled_by": blank(text(["student", "tutor"])[by_tutor.astype(np.int64)], ~moved),
        "reschedule_reason": blank(
            np.where(by_tutor, reasons_of_tutors, reasons_of_students), ~moved
        ),
        "technical_issues": flags(timetable.technical, ~timetable.completed),
        "connection_quality": blank(text(CONNECTIONS)[timetable.connection], ~timetable.completed),
        "grade_level": people.grade_of_student[timetable.student],
        "homework_assigned": flags(rng.random(size) < 0.62, ~timetable.completed),
        "follow_up_booked": flags(booked, ~timetable.completed),
        "overall_session_score": blank(latents.score, unscored),
        "completed_at": moments.completed,
        "created_at": moments.created,
        "updated_at": moments.updated,
    }


def _followed_up(timetable: Timetable) -> Array:
    """True where the pair has another session within three weeks."""
    order = np.argsort(timetable.pair, kind="stable")
    pair, day = timetable.pair[order], timetable.day[order]
    followed = np.zeros(len(pair), dtype=bool)
    followed[:-1] = (pair[1:] == pair[:-1]) & (day[1:] - day[:-1] <= 21)
    result = np.empty_like(followed)
    result[order] = followed
    return result


def _metrics(
    rng: np.random.Generator,
    traits: Traits,
    timetable: Timetable,
    latents: Latents,
    moments: Moments,
    ids: Array,
    recorded: dict[str, Array],
) -> dict[str, Columns]:
    """Returns the tables of what microphones, cameras, screens and transcripts show.

    The order of the tables is the order of the random draws.
    """
    audio, video, screen, transcript = (
        recorded[name] for name in ("audio", "video", "screen", "transcript")
    )
    return {
        "session_audio_metrics": _audio(rng, traits, timetable, latents, moments, ids, audio),
        "session_video_metrics": _video(rng, traits, timetable, ids, video),
        "session_screen_metrics": _screen(rng, timetable, ids, screen),
        "session_transcript_metrics": _transcript(rng, timetable, latents, ids, transcript),
    }


def _counts(rng: np.random.Generator, rate: Array) -> Array:
    return rng.poisson(rate).astype(np.int32)


def _around(mean_and_spread: tuple[float, float], z: Array, low: float, high: float) -> Array:
    return np.round(score_around(mean_and_spread, z, low, high), 3)


def _audio(
    rng: np.random.Generator,
    traits: Traits,
    timetable: Timetable,
    latents: Latents,
    moments: Moments,
    ids: Array,
    rows: Array,
) -> Columns:
    size, good = len(rows), timetable.goodness[rows]
    hours = timetable.duration[rows] / 60
    habit = traits.style[timetable.tutor[rows]] * hours * np.exp(0.12 * good)
    ratio = latents.talk_ratio[rows]
    others = np.round(np.clip((1 - ratio) * rng.uniform(0.9, 1, size), 0, 1), 3)
    frustration = FRUSTRATION_RATE * np.exp(np.clip(-0.8 * good, -3, 3))
    confusion = 0.8 * hours * np.exp(np.clip(-0.4 * good, -2, 2))
    return {
        "session_id": ids[rows],
        "tutor_talk_ratio": ratio,
        "student_talk_ratio": others,
        "student_engagement_score": latents.engagement[rows],
        "tutor_enthusiasm_score": _around((6.8, 1.4), 0.5 * good + rng.normal(0, 0.8, size), 0, 10),
        "student_initiated_questions": _counts(rng, 4 * hours * np.exp(0.2 * good)),
        "student_frustration_count": _counts(rng, frustration),
        "student_confusion_count": _counts(rng, confusion),
        "tutor_checks_understanding_count": _counts(rng, 8.0 * habit),
        "tutor_positive_reinforcement_count": _counts(rng, 9.0 * habit),
        "open_ended_questions": _counts(rng, 10.0 * habit),
        "closed_ended_questions": _counts(rng, 8.0 * hours),
        "created_at": moments.completed[rows] + np.timedelta64(4, "m"),
    }


def _video(
    rng: np.random.Generator, traits: Traits, timetable: Timetable, ids: Array, rows: Array
) -> Columns:
    size, good = len(rows), timetable.goodness[rows]
    focus = 0.45 * good + rng.normal(0, 0.88, size)
    return {
        "session_id": ids[rows],
        "student_on_screen_attention_pct": _around(ATTENTION, focus, 0, 1),
        "student_visual_engagement_score": _around((6.4, 1.5), focus, 0, 10),
        "distraction_events_count": _counts(rng, 2.0 * np.exp(np.clip(-0.4 * focus, -2, 2))),
        "tutor_uses_visual_aids": flags(
            rng.random(size) < np.clip(0.55 * traits.style[timetable.tutor[rows]], 0.05, 0.95)
        ),
        "tutor_camera_on_pct": _around((0.90, 0.12), rng.normal(0, 1, size), 0, 1),
    }


def _screen(rng: np.random.Generator, timetable: Timetable, ids: Array, rows: Array) -> Columns:
    size, good = len(rows), timetable.goodness[rows]
    return {
        "session_id": ids[rows],
        "active_tab_focus_pct": _around((0.8, 0.14), 0.4 * good + rng.normal(0, 0.9, size), 0, 1),
        "whiteboard_usage_minutes": np.round(
            timetable.duration[rows] * rng.beta(1.5, 3.5, size), 1
        ),
        "screen_share_pct": _around((0.45, 0.25), rng.normal(0, 1, size), 0, 1),
        "messaging_app_detected": flags(rng.random(size) < 0.07),
        "gaming_detected": flags(rng.random(size) < 0.02),
    }


def _transcript(
    rng: np.random.Generator, timetable: Timetable, latents: Latents, ids: Array, rows: Array
) -> Columns:
    size, good = len(rows), timetable.goodness[rows]
    tutor_mood = _around(TUTOR_SENTIMENT, 0.4 * good + rng.normal(0, 0.9, size), -1, 1)
    student_mood = _around((0.45, 0.22), 0.5 * good + rng.normal(0, 0.8, size), -1, 1)
    return {
        "session_id": ids[rows],
        "empathy_score": latents.empathy[rows],
        "clarity_score": latents.clarity[rows],
        "overall_sentiment": np.round((tutor_mood + student_mood) / 2, 3),
        "student_sentiment": student_mood,
        "tutor_sentiment": tutor_mood,
    }


def _feedback(
    rng: np.random.Generator,
    timetable: Timetable,
    latents: Latents,
    moments: Moments,
    ids: Array,
    rows: Array,
    until: np.datetime64 | None,
) -> dict[str, Columns]:
    """Returns ratings, texts and tags, without those submitted from `until` on."""
    delay = np.round(rng.exponential(300, len(rows)) + 5).astype("m8[m]")
    submitted = moments.completed[rows] + delay
    if until is not None:
        given = submitted < until
        rows, submitted = rows[given], submitted[given]
    size, stars = len(rows), timetable.stars[rows]
    band = np.searchsorted([3.0, 3.8, 4.5], stars, side="right")
    words = text([line for lines in FEEDBACK_TEXTS for line in lines])
    choices = len(FEEDBACK_TEXTS[0])
    feedback_text = words[band * choices + rng.integers(0, choices, size)]
    feedback = {
        "session_id": ids[rows],
        "student_satisfaction_rating": stars,
        "satisfaction_score": latents.satisfaction[rows],
        "would_recommend": flags(rng.random(size) < 1 / (1 + np.exp(-3.0 * (stars - 3.52)))),
        "feedback_text": blank(feedback_text, rng.random(size) >= 0.55),
        "submitted_at": submitted,
    }
    # Up to two neighbouring tags of the band.
    tags = text([tag for band_tags in FEEDBACK_TAGS for tag in band_tags])
    choices = len(FEEDBACK_TAGS[0])
    first = rng.integers(0, choices, size)
    amount = pick(rng, (0.4, 0.4, 0.2), size)
    row = np.repeat(np.arange(size), amount)
    nth = np.arange(len(row)) - np.searchsorted(row, row)
    tag = band[row] * choices + (first[row] + nth) % choices
    return {
        "session_feedback": feedback,
        "session_feedback_tags": {"session_id": ids[rows][row], "tag": tags[tag]},
    }


def _highlights(
    rng: np.random.Generator, timetable: Timetable, ids: Array, rows: Array
) -> dict[str, Columns]:
    """Returns highlights: hard moments of weak sessions, breakthroughs of good ones."""
    rows = rows[rng.random(len(rows)) < HIGHLIGHTED_SHARE]
    size = len(rows)
    strong = timetable.goodness[rows] + rng.normal(0, 0.8, size) > -0.4
    half = len(HIGHLIGHTS) // 2
    line = rng.integers(0, half, size) + np.where(strong, 0, half)
    kinds, speakers, remarks = zip(*HIGHLIGHTS, strict=True)
    return {
        "session_transcript_highlights": {
            "id": make_ids("H", np.arange(1, size + 1), 6, size),
            "session_id": ids[rows],
            "timestamp_seconds": (timetable.duration[rows] * 60 * rng.random(size)).astype(
                np.int32
            ),
            "speaker": text(speakers)[line],
            "text": text(remarks)[line],
            "highlight_type": text(kinds)[line],
        }
    }


def _billing(
    rng: np.random.Generator,
    timetable: Timetable,
    people: People,
    moments: Moments,
    ids: Array,
) -> dict[str, Columns]:
    """Returns one bill per completed session."""
    rows = np.flatnonzero(timetable.completed)
    size = len(rows)
    premium = rng.random(size) < 0.22
    discounted = rng.random(size) < people.bargain_of_student[timetable.student[rows]]
    rate = people.hourly_rate[timetable.tutor[rows]]
    amount = rate * timetable.duration[rows] / 60
    amount = np.round(amount * np.where(premium, 1.25, 1) * np.where(discounted, 0.85, 1), 2)
    bad = timetable.stars[rows] < 3
    disputed = rng.random(size) < np.where(bad, 0.04, 0.006)
    refunded = (disputed & (rng.random(size) < 0.6)) | (
        rng.random(size) < np.where(bad, 0.06, 0.004)
    )
    return {
        "session_billing": {
            "session_id": ids[rows],
            "amount": amount,
            "tier": text(["standard", "premium"])[premium.astype(np.int64)],
            "is_discounted": flags(discounted),
            "refunded_amount": np.where(refunded, amount, 0.0),
            "is_disputed": flags(disputed),
            "billed_at": moments.completed[rows] + np.timedelta64(10, "m"),
        }
    }
