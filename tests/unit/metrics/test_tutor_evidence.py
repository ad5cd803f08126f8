"""What of tutors may tell that they leave, against plain Python over the platform's rows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from tests.conftest import undone
from tutor_pipeline.core.warehouse.refresh_runs import end_of_day
from tutor_pipeline.judgement.scores.departure.forecast import ASKED_SILENCE_DAYS
from tutor_pipeline.judgement.scores.departure.tutors.evidence import READS
from tutor_pipeline.metrics.catalogue import metric_columns

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)  # a Wednesday
NEWEST = AS_OF.date() - timedelta(days=1)
DAY = NEWEST - timedelta(days=21)
IMPORTED = AS_OF.date() - timedelta(days=40)
TUTORS = [f"t{number}" for number in range(6)]
GONE = "t5"
NEWCOMER = "t6"
STATUSES = [
    *["completed"] * 8,
    *("cancelled", "rescheduled", "rescheduled", "no_show_tutor", "no_show_student", "not_held"),
]
EDGES = [-1, 0, 1, 5, 6, 7, 8, 13, 14, 15, 20, 21, 27, 28, 29, 55, 56, 69, 70, 83, 84, 85]
MARKS = ("score", "rating", "engagement", "sentiment")
UPSTREAM = [
    *("session_rows", "fct_sessions", "dim_tutors", "int_tutor_days", "tutor_aggregates"),
]
EVIDENCE = [*UPSTREAM, "int_tutor_logins", "int_import_days", "tutor_evidence"]
EVERYTHING = [*EVIDENCE, "tutor_evidence_history"]
PARTS = {
    "session_feedback": ("student_satisfaction_rating", "submitted_at"),
    "session_audio_metrics": ("student_engagement_score", "created_at"),
    "session_transcript_metrics": ("overall_sentiment", None),
}

# The platform -----------------------------------------------------------------------------------


def at(day: date, hour: int = 12) -> datetime:
    return datetime.combine(day, time(hour), UTC)


class Platform:
    """What was inserted, by table, for counting it anew."""

    def __init__(self, bench: Any, rng: random.Random) -> None:
        self.bench, self.rng = bench, rng
        self.sessions: list[dict[str, Any]] = []
        self.hours: list[dict[str, Any]] = []
        self.logins: list[tuple[str, datetime]] = []

    def session(self, tutor: str, day: date, created: datetime | None, **values: Any) -> None:
        """A session with all that belongs to it; marks in known fractions, or none at all."""
        rng = self.rng
        status = values.pop("status", None) or rng.choice(STATUSES)
        start = at(day, rng.randint(8, 19))
        done = status == "completed"
        is_marked = done and rng.random() < 0.8
        bill = None
        if done and rng.random() < 0.8:
            bill = {
                "amount": rng.choice([20, 35.5, 50]),
                "refunded_amount": rng.choice([None, 0, 5]),
                "billed_at": rng.choice([None, start, start + timedelta(days=rng.randint(0, 5))]),
            }
        self.sessions.append(
            {
                "id": f"s{len(self.sessions):05d}",
                "tutor_id": tutor,
                "status": status,
                "scheduled_start": start,
                "created_at": created,
                "actual_start": start + timedelta(minutes=rng.choice([-3, 0, 5, 5.5, 20]))
                if done and rng.random() < 0.8
                else None,
                "rescheduled_by": rng.choice(["tutor", "student"])
                if status == "rescheduled"
                else None,
                "score": rng.choice([4.5, 7, 8.25]) if is_marked else None,
                "rating": rng.choice([None, 2, 4, 5]) if is_marked else None,
                "engagement": rng.choice([None, 3.5, 8]) if is_marked else None,
                "sentiment": rng.choice([None, -0.5, 0.25, 1]) if is_marked else None,
                "bill": bill,
                **values,
            }
        )

    def insert(self) -> None:
        """Write all of it."""
        insert = self.bench.insert
        shared = (
            *("id", "tutor_id", "status", "scheduled_start", "created_at", "actual_start"),
            "rescheduled_by",
        )
        insert(
            "sessions",
            [
                {name: row[name] for name in shared} | {"overall_session_score": row["score"]}
                for row in self.sessions
            ],
        )
        for (table, (column, moment)), mark in zip(PARTS.items(), MARKS[1:], strict=True):
            insert(
                table,
                [
                    {"session_id": row["id"], column: row[mark]}
                    | ({moment: row["scheduled_start"] + timedelta(hours=1)} if moment else {})
                    for row in self.sessions
                    if row[mark] is not None
                ],
            )
        bills = [{"session_id": row["id"], **row["bill"]} for row in self.sessions if row["bill"]]
        insert("session_billing", bills)
        insert("tutor_availability", self.hours)
        insert(
            "engagement_events",
            [
                {"tutor_id": tutor, "occurred_at": moment, "event_type": kind}
                for tutor, moment in self.logins
                for kind in ("login", "opened_a_page")
            ],
        )


def fill(bench: Any) -> Platform:
    rng = random.Random(7)
    # What of events has to be there: neither their identity nor their details.
    bench.execute("alter table {platform}.engagement_events drop column event_id")
    bench.execute("alter table {platform}.engagement_events drop column event_data")
    for tutor in TUTORS:
        bench.add("tutors", user_id=tutor, active_status=tutor != GONE)
    bench.add("tutors", user_id=NEWCOMER, member_since=AS_OF.date() - timedelta(days=10))
    for tutor, days in (("t0", 1000), ("t1", 60)):
        bench.add("users", id=tutor, role="tutor", created_at=AS_OF - timedelta(days=days))
    platform = Platform(bench, rng)
    for tutor in TUTORS:
        # Windows of the refresh and of the history end on different days: both have their edges.
        for back in [*EDGES, *(rng.randint(0, 130) for _ in range(60))]:
            day = AS_OF.date() - timedelta(days=back + rng.choice([0, 0, 0, 1]))
            created = rng.choice([None, *[at(day) - timedelta(days=rng.randint(0, 20))] * 9])
            # A session of tomorrow has not taken place yet.
            later = "scheduled" if day >= AS_OF.date() else None
            platform.session(tutor, day, created, status=later)
        for ahead in [0, 1, 13, 14, 15, *(rng.randint(0, 20) for _ in range(6))]:
            day = AS_OF.date() + timedelta(days=ahead)
            created = rng.choice([None, *[AS_OF - timedelta(days=rng.randint(0, 30))] * 6])
            platform.session(tutor, day, created, status=rng.choice(["scheduled", "cancelled"]))
        # The same moment as the refresh, and a microsecond later.
        for created in (AS_OF, AS_OF + timedelta(microseconds=1)):
            platform.session(tutor, AS_OF.date() + timedelta(days=3), created, status="scheduled")
        for _ in range(8):
            day = IMPORTED + timedelta(days=rng.choice([-60, -30, -20, -9, -3, 4]))
            platform.session(tutor, day, at(IMPORTED), status="completed")
        platform.logins += logins(rng, tutor)
        platform.hours += hours(rng, tutor)
    platform.logins += [("t0", AS_OF), ("t1", AS_OF + timedelta(seconds=1))]
    platform.insert()
    return platform


def logins(rng: random.Random, tutor: str) -> list[tuple[str, datetime]]:
    days = [*EDGES, *(rng.randint(0, 130) for _ in range(40))]
    return [(tutor, at(AS_OF.date() - timedelta(days=back), rng.randint(0, 23))) for back in days]


def hours(rng: random.Random, tutor: str) -> list[dict[str, Any]]:
    """A report a week, known before, within or after the week; some weeks have none."""
    reports = []
    for back in range(-2, 18):
        week = date(2026, 3, 16) - timedelta(days=7 * back)
        if rng.random() < 0.15:
            continue
        reports.append(
            {
                "tutor_id": tutor,
                "week_start": week,
                "available_hours": rng.choice([None, 0, 4, 10.5, 20]),
                "avg_response_time_hours": rng.choice([None, 1, 2.5, 12]),
                "instant_book_enabled": rng.choice([None, True, False]),
                "reported_at": rng.choice([None, *[at(week + timedelta(rng.randint(-9, 16)))] * 4]),
            }
        )
    # Of the week after: reported with the refresh, or a moment later.
    known = AS_OF + timedelta(seconds=int(tutor in ("t0", "t3")))
    return [row for row in reports if row["week_start"] != date(2026, 3, 23)] + [
        {
            "tutor_id": tutor,
            "week_start": date(2026, 3, 23),
            "available_hours": 7,
            "avg_response_time_hours": 3,
            "instant_book_enabled": True,
            "reported_at": known,
        }
    ]


# The same in plain Python -----------------------------------------------------------------------


def known_events(rows: list[dict[str, Any]], status: str) -> int | None:
    """Beside a session of which nobody says why it was not held, nobody knows."""
    found = [row["status"] for row in rows]
    return None if "not_held" in found else found.count(status)


def expected(platform: Platform, tutor: str, day: date, now: datetime) -> dict[str, Any]:
    """The evidence of a tutor on `day`, of which `now` is the last moment."""
    past = [
        row
        for row in platform.sessions
        if row["tutor_id"] == tutor
        and row["scheduled_start"] <= now
        and row["status"] not in ("scheduled", "in_progress")
    ]

    def ago(moment: datetime | date) -> int:
        return (day - (moment.date() if isinstance(moment, datetime) else moment)).days

    def within(first: int, last: int) -> list[dict[str, Any]]:
        return [row for row in past if first <= ago(row["scheduled_start"]) <= last]

    recent = {"7d": (0, 6), "14d": (0, 13), "28d": (0, 27)}
    before = {"before_14d": (14, 69), "before_28d": (28, 83)}
    done = [row for row in past if row["status"] == "completed"]
    found: dict[str, Any] = {
        "days_seen": max(days_seen(platform, tutor, day), 1),
        "days_since_completed": min(
            (ago(row["scheduled_start"]) for row in done if ago(row["scheduled_start"]) < 91),
            default=None,
        ),
        **{
            f"completed_{name}": sum(row["status"] == "completed" for row in within(*days))
            for name, days in (recent | before).items()
        },
    }
    for name, days in (("28d", (0, 27)), ("before", (28, 83))):
        rows = within(*days)
        completed = [row for row in rows if row["status"] == "completed"]
        started = [row for row in completed if row["actual_start"] is not None]
        late = timedelta(minutes=5)
        found |= {
            **dict.fromkeys(
                [f"sessions_{name}", f"reschedules_due_{name}", f"no_shows_due_{name}"], len(rows)
            ),
            f"reschedules_{name}": sum(row["rescheduled_by"] == "tutor" for row in rows),
            f"no_shows_{name}": known_events(rows, "no_show_tutor"),
            f"cancelled_{name}": known_events(rows, "cancelled"),
            f"starts_known_{name}": len(started),
            f"lates_{name}": sum(
                row["actual_start"] - row["scheduled_start"] > late for row in started
            ),
            f"earned_{name}": sum(earned(platform, tutor, day, now, *days)),
        }
        for mark in MARKS:
            given = [row[mark] for row in completed if row[mark] is not None]
            found |= {f"{mark}_{name}": mean(given), f"{mark}_{name}_n": len(given)}
    everybody = [ago(moment) for _, moment in platform.logins if moment <= now]
    # Where nobody has logged in for days, logins were not read.
    are_read = any(0 <= back <= 3 for back in everybody)
    logged = {ago(moment) for whose, moment in platform.logins if whose == tutor and moment <= now}
    found["login_days_14d"] = len(logged & set(range(14))) if are_read else None
    found["login_days_before"] = len(logged & set(range(14, 70))) if are_read else None
    return found | offered(platform, tutor, day, now) | ahead(platform, tutor, day, now)


def mean(values: Iterable[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


def days_seen(platform: Platform, tutor: str, day: date) -> int:
    first = min(
        row["scheduled_start"].date()
        for row in platform.sessions
        if row["status"] not in ("scheduled", "in_progress")
    )
    joined = {"t0": 1000, "t1": 60, NEWCOMER: 10}.get(tutor)
    taught = [
        row["scheduled_start"].date()
        for row in platform.sessions
        if row["tutor_id"] == tutor and row["status"] not in ("scheduled", "in_progress")
    ]
    since = [*taught, *([AS_OF.date() - timedelta(days=joined)] if joined else [])]
    return (day - max(min(since), first)).days + 1


def earned(
    platform: Platform, tutor: str, day: date, now: datetime, first: int, last: int
) -> list[float]:
    found = []
    for row in platform.sessions:
        bill = row["bill"]
        if row["tutor_id"] != tutor or bill is None or row["scheduled_start"].date() > day:
            continue
        billed = bill["billed_at"] or row["scheduled_start"]
        known = max(billed, row["scheduled_start"]).date()
        if billed <= now and first <= (day - known).days <= last:
            found.append(bill["amount"] - (bill["refunded_amount"] or 0))
    return found


def offered(platform: Platform, tutor: str, day: date, now: datetime) -> dict[str, Any]:
    reports = [
        row
        for row in platform.hours
        if row["tutor_id"] == tutor and (row["reported_at"] is None or row["reported_at"] <= now)
    ]
    by_week: dict[int, list[dict[str, Any]]] = {}

    def newest(row: dict[str, Any]) -> tuple[date, float]:
        moment = row["reported_at"]
        return row["week_start"], moment.timestamp() if moment else 0.0

    for row in reports:
        moment = row["reported_at"]
        known = max(row["week_start"], moment.date() if moment else row["week_start"])
        if known <= day and (known - row["week_start"]).days <= 13:
            by_week.setdefault((day - known).days // 7, []).append(row)

    def weekly(column: str, weeks: Iterable[int]) -> list[float]:
        told = [max(by_week[week], key=newest)[column] for week in weeks if week in by_week]
        return [float(each) for each in told if each is not None]

    coming = [
        row["available_hours"]
        for row in reports
        if row["reported_at"] is not None
        and row["reported_at"].date() <= day < row["week_start"] <= day + timedelta(days=7)
    ]
    usual = weekly("available_hours", range(1, 9))
    found = {
        "hours_this_week": mean(weekly("available_hours", [0])),
        "hours_next_week": mean(coming),
        "usual_hours": mean(usual),
        "usual_hours_weeks": len(usual),
    }
    for name, column in (
        ("reply_hours", "avg_response_time_hours"),
        ("instant", "instant_book_enabled"),
    ):
        past = weekly(column, range(2, 10))
        found |= {
            f"{name}_14d": mean(weekly(column, range(2))),
            f"{name}_before": mean(past),
            f"{name}_weeks": len(past),
        }
    return found


def ahead(platform: Platform, tutor: str, day: date, now: datetime) -> dict[str, int]:
    coming = [
        row["created_at"]
        for row in platform.sessions
        if row["tutor_id"] == tutor
        and row["scheduled_start"] > now
        and row["scheduled_start"].date() <= day + timedelta(days=14)
    ]
    return {
        "booked_ahead": sum(created is not None and created <= now for created in coming),
        "booked_unclear": sum(
            created is None or (created > now and created.date() == IMPORTED) for created in coming
        ),
    }


# What dbt makes of it ---------------------------------------------------------------------------


def evidence(bench: Any) -> dict[str, dict[str, Any]]:
    rows = bench.rows("select * from {marts}.tutor_evidence order by tutor_id")
    return {row["tutor_id"]: row for row in rows}


def history(bench: Any) -> dict[tuple[str, date], dict[str, Any]]:
    """Without recorded_until, which alone may know what came later."""
    rows = bench.rows("select * from {marts}.tutor_evidence_history order by tutor_id, as_of_date")
    return {
        (row["tutor_id"], row["as_of_date"]): {
            name: value for name, value in row.items() if name != "recorded_until"
        }
        for row in rows
    }


def of_day(bench: Any, day: date) -> list[str]:
    """The rows of a day, as text."""
    return [
        row["said"]
        for row in bench.rows(
            "select (to_jsonb(rows) - 'recorded_until')::text as said"
            " from {marts}.tutor_evidence_history as rows"
            " where as_of_date = %s order by tutor_id",
            day,
        )
    ]


@pytest.fixture(scope="module")
def platform(bench: Any) -> Platform:
    return fill(bench)


@pytest.fixture(scope="module")
def said(bench: Any, platform: Platform) -> dict[str, Any]:
    """A refresh as of the end of the newest day of the history, and one as of now with history."""
    bench.refresh(end_of_day(NEWEST, bench.warehouse.timezone), select=EVIDENCE)
    then = evidence(bench)
    bench.refresh(AS_OF, select=EVERYTHING)
    until = {
        (row["tutor_id"], row["as_of_date"]): row["recorded_until"]
        for row in bench.rows(
            "select tutor_id, as_of_date, recorded_until from {marts}.tutor_evidence_history"
        )
    }
    return {"then": then, "now": evidence(bench), "past": history(bench), "until": until}


def differences(row: dict[str, Any], wanted: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (row[name], value)
        for name, value in wanted.items()
        if (row[name] is None) != (value is None)
        or (value is not None and float(row[name]) != pytest.approx(float(value), rel=1e-9))
    }


@pytest.mark.parametrize("tutor", TUTORS[:5])
def test_the_evidence_is_what_plain_python_counts(platform, said, tutor):
    row = said["now"][tutor]
    wanted = expected(platform, tutor, AS_OF.date(), AS_OF)
    assert wanted.keys() == set(READS)
    assert differences(row, wanted) == {}
    assert (row["as_of"], row["as_of_date"], row["is_active"]) == (AS_OF, AS_OF.date(), True)


@pytest.mark.parametrize("tutor", TUTORS)
@pytest.mark.parametrize("back", [0, 1, 2, 3, 5, 6, 8, 10])
def test_the_evidence_of_a_past_day_is_what_plain_python_counts(platform, said, tutor, back):
    day = NEWEST - timedelta(days=7 * back)
    end = end_of_day(day, "UTC")
    wanted = expected(platform, tutor, day, end)
    row = said["past"].get((tutor, day))
    silent = wanted["days_since_completed"]
    assert (row is not None) is (silent is not None and silent <= ASKED_SILENCE_DAYS)
    if row is not None:
        # Weeks before the first asked one are not read: there is no silence of that length.
        assert differences(row, wanted) == {}
        assert row["as_of"] == end


def test_a_past_row_says_when_what_it_rests_on_was_recorded_last(platform, said):
    def moments(tutor: str, day: date) -> Iterator[datetime | None]:
        since = day - timedelta(days=84)
        for row in platform.sessions:
            if row["tutor_id"] == tutor and since < row["scheduled_start"].date() <= day:
                yield row["created_at"]
                yield (row["bill"] or {}).get("billed_at")
                if row["rating"] is not None or row["engagement"] is not None:
                    yield row["scheduled_start"] + timedelta(hours=1)
        for report in platform.hours:
            if report["tutor_id"] == tutor and since < report["week_start"] <= day:
                yield report.get("reported_at")

    later = 0
    for (tutor, day), until in said["until"].items():
        known = [each for each in moments(tutor, day) if each is not None]
        assert until == max(known, default=None), (tutor, day)
        later += until is not None and until > end_of_day(day, "UTC")
    assert later > 5


@pytest.mark.usefixtures("as_it_was")
def test_what_a_profile_says_now_is_no_evidence_of_the_past(bench, said):
    """The present values of a profile change, and no past row with them."""
    bench.execute(
        "update {platform}.tutors set last_login = now(), hourly_rate = 99, no_show_count = 7,"
        " months_experience = 3, certification_level = 'x', primary_subject = 'x',"
        " reliability_score = 0.1, avg_historical_rating = 1, reschedule_rate = 0.9,"
        " total_sessions_completed = 1"
    )
    bench.refresh(AS_OF, select=EVERYTHING)
    assert history(bench) == said["past"]


def test_it_is_of_active_tutors_and_has_the_columns_that_scorers_read(said):
    assert said["now"].keys() == {*TUTORS, NEWCOMER} - {GONE}
    assert set(READS) <= set(said["now"]["t0"])
    assert list(said["now"]["t0"]) == list(metric_columns()["tutor_evidence"])
    assert GONE in {tutor for tutor, _ in said["past"]}


def test_of_a_newcomer_nothing_is_known(said):
    row = said["now"][NEWCOMER]
    assert row["days_seen"] == 11
    counts = {name for name in READS if row[name] == 0}
    nothing = {name for name in READS if row[name] is None}
    assert counts | nothing | {"days_seen"} == set(READS)
    assert {"days_since_completed", "usual_hours", "score_28d"} <= nothing
    assert {"completed_28d", "booked_ahead", "usual_hours_weeks"} <= counts


def test_something_is_booked_and_something_is_unclear(said):
    rows = [*said["now"].values(), *said["past"].values()]
    for column in (
        "booked_ahead",
        "booked_unclear",
        "lates_28d",
        "earned_before",
        "hours_next_week",
    ):
        assert sum(bool(row[column]) for row in rows) > 5, column


def test_what_is_booked_of_an_import_is_unclear_before_it(platform, said):
    day = max(day for _, day in said["past"] if day < IMPORTED)
    imported = [
        row
        for row in platform.sessions
        if row["created_at"] == at(IMPORTED) and row["scheduled_start"].date() > day
    ]
    assert imported
    for tutor in {row["tutor_id"] for row in imported}:
        assert said["past"][tutor, day]["booked_unclear"] > 0


def test_the_newest_day_of_the_history_is_what_a_refresh_then_says(said):
    newest = {tutor: row for (tutor, day), row in said["past"].items() if day == NEWEST}
    asked = {
        tutor: row
        for tutor, row in said["then"].items()
        if (row["days_since_completed"] or 0) <= ASKED_SILENCE_DAYS and tutor != NEWCOMER
    }
    newest.pop(GONE)
    assert newest == asked
    assert len(asked) == 5


# Refreshes of some tutors -----------------------------------------------------------------------


def changed(bench: Any) -> None:
    """Something new of t1 and t2."""
    bench.add(
        "sessions", id="new", tutor_id="t1", scheduled_start=AS_OF - timedelta(hours=2),
        status="completed", created_at=AS_OF - timedelta(days=4), overall_session_score=1,
    )  # fmt: skip
    bench.add(
        "sessions", id="planned", tutor_id="t2", scheduled_start=AS_OF + timedelta(days=2),
        status="scheduled", created_at=AS_OF - timedelta(hours=1),
    )  # fmt: skip
    bench.execute("delete from {platform}.sessions where id = 's00003'")
    bench.execute(
        "update {platform}.tutor_availability set available_hours = 1 where tutor_id = 't2'"
    )


@pytest.fixture(scope="module")
def refreshed(bench: Any, server_url: str, said: dict[str, Any]) -> dict[str, Any]:
    """After a change: a scoped refresh, a full one, and a scoped one without the tables of full
    refreshes.
    """
    with undone(server_url, bench.warehouse.url):
        changed(bench)
        bench.refresh(AS_OF, tutors=["t0", "t1", "t2"], select=[*UPSTREAM, "tutor_evidence"])
        scoped = evidence(bench)
        bench.refresh(AS_OF, select=EVIDENCE)
        full = evidence(bench)
        for table in ("int_tutor_logins", "int_import_days"):
            bench.execute(f"drop table {{intermediate}}.{table}")
        bench.refresh(AS_OF, tutors=["t1"], select=[*UPSTREAM, "tutor_evidence"])
        return {"scoped": scoped, "full": full, "before": evidence(bench)}


def test_a_scoped_refresh_equals_a_full_one(said, refreshed):
    assert refreshed["scoped"] == refreshed["full"]
    same = {tutor for tutor, row in said["now"].items() if row == refreshed["full"][tutor]}
    assert same == {"t3", "t4", NEWCOMER}
    assert refreshed["full"]["t1"]["days_since_completed"] == 0


def test_before_the_first_full_refresh_a_scoped_one_works(refreshed):
    """After an upgrade the tables that only full refreshes make are not there yet."""
    full, before = refreshed["full"], refreshed["before"]
    assert before.keys() == full.keys()
    assert {tutor for tutor in full if before[tutor] != full[tutor]} == {"t1"}
    missing = {"login_days_14d": None, "login_days_before": None}
    assert before["t1"] == full["t1"] | missing


# What came later, and what is not there ---------------------------------------------------------


@pytest.fixture(scope="module")
def cut(bench: Any, server_url: str, said: dict[str, Any]) -> dict[str, Any]:
    """The rows of DAY, and what they are when nothing came after it; then without some tables."""
    with undone(server_url, bench.warehouse.url):
        return cut_after_a_day(bench)


def cut_after_a_day(bench: Any) -> dict[str, Any]:
    bench.refresh(AS_OF, select=EVERYTHING)
    whole = of_day(bench, DAY)
    end = end_of_day(DAY, bench.warehouse.timezone)
    execute = bench.execute
    execute("delete from {platform}.sessions where created_at > %s", end)
    # Of what was booked by then it is not known yet what became of it.
    execute(
        "update {platform}.sessions set status = 'scheduled', overall_session_score = null,"
        " actual_start = null, rescheduled_by = null where scheduled_start > %s",
        end,
    )
    for table, moment in (
        ("session_feedback", "submitted_at"),
        ("session_audio_metrics", "created_at"),
    ):
        execute(f"delete from {{platform}}.{table} where {moment} > %s", end)
    for table in (*PARTS, "session_billing"):
        execute(
            f"delete from {{platform}}.{table} where session_id not in"
            " (select id from {platform}.sessions where status <> 'scheduled')"
        )
    execute("delete from {platform}.session_billing where billed_at > %s", end)
    execute(
        "delete from {platform}.tutor_availability where coalesce(reported_at, week_start) > %s",
        end,
    )
    execute("delete from {platform}.engagement_events where occurred_at > %s", end)
    bench.refresh(AS_OF, select=EVERYTHING)
    rest = of_day(bench, DAY)
    for table in ("tutor_availability", "engagement_events", "session_billing"):
        execute(f"drop table {{platform}}.{table}")
    bench.refresh(AS_OF, select=EVERYTHING)
    return {"whole": whole, "rest": rest, "now": evidence(bench), "past": history(bench)}


def test_without_what_came_after_a_day_its_rows_are_the_same_byte_for_byte(cut):
    assert len(cut["whole"]) == len(TUTORS)
    assert cut["whole"] == cut["rest"]


def test_tables_that_are_not_there_leave_nothing_known(cut):
    hours = {name for name in READS if name.startswith(("hours", "usual", "reply", "instant"))}
    unknown = {name: 0 if name.endswith("_weeks") else None for name in hours}
    unknown |= dict.fromkeys(("login_days_14d", "login_days_before"))
    zero = dict.fromkeys(("earned_28d", "earned_before"), 0)
    assert cut["now"].keys() == {*TUTORS, NEWCOMER} - {GONE}
    for row in [*cut["now"].values(), *cut["past"].values()]:
        assert {name: row[name] for name in unknown | zero} == unknown | zero
    assert any(row["completed_28d"] for row in cut["past"].values())
