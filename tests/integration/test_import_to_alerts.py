"""A CSV export made elsewhere: good rows in, bad ones in quarantine, alerts from what is in."""

import csv
from datetime import datetime, timedelta

import pytest

PROFILE = (
    "tutor_id,months_experience,total_sessions_completed,avg_historical_rating,subjects_taught,"
    "primary_subject,reschedule_rate,no_show_count,reliability_score,certification_level,"
    "active_status,last_login"
).split(",")
SESSION = (
    "session_id,tutor_id,session_datetime,scheduled_duration_min,actual_duration_min,subject,"
    "grade_level,is_first_session,session_completed,student_showed,tutor_showed,"
    "connection_quality,had_technical_issues,student_attention_pct,tutor_camera_on_pct,"
    "tutor_speak_ratio,screen_share_pct,overall_sentiment,student_sentiment,tutor_sentiment,"
    "empathy_score,clarity_score,engagement_score,student_rating,student_satisfaction,"
    "would_recommend"
).split(",")
NEWEST = datetime(2026, 4, 30, 18)


def session(number: int, tutor: str, days_ago: float, **changes: object) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(SESSION, "")
    row |= {
        "session_id": f"S{number:06d}",
        "tutor_id": tutor,
        "session_datetime": NEWEST - timedelta(days=days_ago),
        "scheduled_duration_min": 60,
        "session_completed": True,
        "student_showed": True,
        "tutor_showed": True,
        "engagement_score": 7.5,
    }
    return row | changes


def no_show(number: int, tutor: str, days_ago: float) -> dict[str, object]:
    return session(
        number, tutor, days_ago, session_completed=False, tutor_showed=False, engagement_score=""
    )


def write(folder, sessions):
    folder.mkdir(exist_ok=True)
    with (folder / "tutor_profiles.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, PROFILE)
        writer.writeheader()
        # The profile's own no_show_count is somebody else's: it must not make an alert.
        writer.writerow({"tutor_id": "T0001", "active_status": True, "no_show_count": 0})
        writer.writerow({"tutor_id": "T0002", "active_status": True, "no_show_count": 9})
    with (folder / "sessions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, SESSION)
        writer.writeheader()
        writer.writerows(sessions)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    good = [session(number, f"T000{number % 2 + 1}", number % 40) for number in range(200)]
    missed = [no_show(900 + age, "T0001", age) for age in (2, 12, 29)]
    almost = [no_show(950 + age, "T0002", age) for age in (1, 29, 30)]
    bad = [
        session(990, "T0001", 1, student_rating=7),
        session(991, "T0404", 1),
        session(992, "T0001", 1, session_datetime="yesterday"),
    ]
    write(folder, good + missed + almost + bad)
    return folder


@pytest.fixture(scope="module")
def imported(project, export):
    project.run("import", str(export))
    return project


def test_good_rows_are_in_and_bad_ones_quarantined_with_line_and_reason(imported):
    assert imported.query("select count(*) from platform.sessions") == [(206,)]
    quarantined = imported.query(
        "select line, business_key, reasons from ops.quarantine"
        " where resolved_at is null order by line"
    )
    assert quarantined == [
        (208, "S000990", ["student_rating_out_of_range"]),
        (209, "S000991", ["unknown_tutor"]),
        (210, "S000992", ["session_datetime_unparsable"]),
    ]


def test_the_same_folder_again_changes_nothing(imported, export):
    count = "select count(*), sum(hashtext(s::text)) from platform.sessions as s"
    before = imported.query(count)
    result = imported.json("import", str(export))
    assert [file["changed"] for file in result["files"]] == [0, 0]
    assert imported.query(count) == before


def test_enrich_gives_alerts_from_it_counted_from_the_sessions(imported):
    # The data is months old, and what was found as of today bars the way back: the hint says so.
    hint = imported.run("enrich").stderr
    assert "tutor-pipeline clear --yes && tutor-pipeline enrich --as-of latest" in hint
    imported.run("clear", "--yes")
    imported.run("enrich", "--as-of", "latest")
    rows = imported.json("alerts", "list")
    assert [(row["tutor_id"], row["alert_type"]) for row in rows] == [("T0001", "no_show_pattern")]
    assert sorted(rows[0]["evidence_session_ids"]) == ["S000902", "S000912", "S000929"]
    unknown = imported.query(
        "select count(tutor_reschedules_30d), count(late_count_30d) from marts.tutor_aggregates"
    )
    assert unknown == [(0, 0)], "this format has neither, and 0 would say it had none"


def test_a_corrected_row_comes_in_and_resolves_its_entry(imported, export):
    path = export / "sessions.csv"
    path.write_text(path.read_text().replace("yesterday", "2026-04-29 12:00:00"))
    imported.run("import", str(export))
    assert imported.query("select count(*) from platform.sessions") == [(207,)]
    still = imported.query("select business_key from ops.quarantine where resolved_at is null")
    assert sorted(still) == [("S000990",), ("S000991",)]


def test_too_many_bad_rows_load_nothing_of_the_file(imported, tmp_path):
    rows = [session(number, "T0001", 1, engagement_score="high") for number in range(500, 510)]
    write(tmp_path / "bad", [session(600, "T0001", 1), *rows])
    before = imported.query("select count(*) from platform.sessions")
    assert "refused" in imported.run("import", str(tmp_path / "bad"), status=3).stderr
    assert imported.query("select count(*) from platform.sessions") == before


def test_generating_would_replace_it_and_is_refused(imported):
    assert "--replace" in imported.run("generate", status=3).stderr
    assert "--replace" in imported.run("demo", status=3).stderr
