"""What people see of events that a platform pushes, and what commands do to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.conftest import Project
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.sources.events import applying, inbox, rejections
from tutor_pipeline.sources.events.bodies import parse
from tutor_pipeline.sources.events.inbox import Incoming

TERMINAL = "\x1b[2J\x1b]0;owned\x07[bold]"


def post(project: Project, kind: str, id_: str, minute: int = 0, **data: Any) -> None:
    """Sends an event of this minute of the last hour, and applies it."""
    now = datetime.now(UTC)
    at = now - timedelta(hours=1) + timedelta(minutes=minute)
    body = json.dumps({"type": kind, "timestamp": at.isoformat(), "data": data}).encode()
    with project.warehouse.connect() as database:
        inbox.store(database, [Incoming("shop", id_, parse(body))])
    with project.warehouse.connect(autocommit=True) as database:
        applying.apply_waiting(database, now)


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    """Two tutors by events, a session that waits, one that came twice, a type that nobody knows."""
    project = new_project()
    project.run("status")
    with project.warehouse.connect() as database:
        ensure_platform(database)
    for number in (1, 2):
        post(project, "tutor.updated", f"tutor-{number}", tutor_id=f"T{number}", name="Ada Park")
    post(project, "session.scheduled", "booked", 1, session_id="S1", tutor_id="T1",
         student_id="P1", scheduled_start="2026-03-02T16:00:00Z")  # fmt: skip
    post(project, "session.completed", "held", 2, session_id="S1", actual_duration=50)
    post(project, "session.feedback", "rated", 3, session_id="S9", feedback_text=TERMINAL)
    post(project, "session.what", "odd", 4, session_id="S1")
    with project.warehouse.connect() as database:
        counts = rejections.Counts()
        for _ in range(3):
            counts.add("shop", "webhook-id is missing", TERMINAL, datetime.now(UTC))
        rejections.write(database, counts.taken())
    return project


def ids(project: Project, *options: str) -> list[str]:
    return [row["event_id"] for row in project.json("events", "list", *options)]


def test_the_list_shows_the_newest_first_and_can_be_narrowed(project):
    assert ids(project) == ["odd", "rated", "held", "booked", "tutor-2", "tutor-1"]
    assert ids(project, "--limit", "2") == ["odd", "rated"]
    assert ids(project, "--state", "quarantined", "--state", "unknown") == ["odd", "rated"]
    assert ids(project, "--type", "tutor.updated", "--about", "T2") == ["tutor-2"]
    for id_ in ("T1", "P1", "booked"):
        assert "booked" in ids(project, "--about", id_)
    assert ids(project, "--source", "other") == []
    shown = project.run("events", "list").stdout
    assert "unknown_session" in shown
    assert "… and more: --limit 4" in project.run("events", "list", "--limit", "2").stdout
    assert "No such event." in project.run("events", "list", "--about", "T3").stdout


def test_one_event_with_what_it_waits_for_and_what_is_its_own_now(project):
    (held,) = project.json("events", "show", "held")
    assert held["body"]["data"] == {"session_id": "S1", "actual_duration": 50}
    assert held["rows"] == [{
        "row": "sessions/S1", "fields": ["actual_duration", "status"], "overruled": {},
        "deletes": False, "waits_on": [],
    }]  # fmt: skip
    (booked,) = project.json("events", "show", "booked")
    assert booked["rows"][0]["overruled"] == {"status": "shop/held"}
    shown = project.run("events", "show", "booked").stdout
    assert "has from it: tutor_id" in shown
    assert "has from shop/held: status" in shown
    waits = project.run("events", "show", "rated").stdout
    assert "cannot be written yet; waits for sessions/S9" in waits
    assert "\x1b" not in waits
    assert '"session_id": "S9"' in waits
    for id_, says in (("held ", "no event has the id"), ("S1", "--about S1")):
        assert says in project.run("events", "show", id_, status=2).stderr
    said = project.run("events", "show", "held", "--source", "other", status=2).stderr
    assert "these have: shop" in said


def test_rejected_requests_are_shown_with_the_true_reason(project):
    (row,) = project.json("events", "rejected")
    assert (row["source"], row["reason"], row["requests"]) == ("shop", "webhook-id is missing", 3)
    shown = project.run("events", "rejected").stdout
    assert "webhook-id is missing" in shown
    assert "\x1b" not in shown
    assert "Every request" in project.run("events", "rejected", "--since", "2099-01-01").stdout
    said = project.run("events", "rejected", "--since", "soon", status=2).stderr
    assert "--since soon: write a day as" in said


def test_types_are_listed_and_shown_with_an_example(project):
    rows = {row["type"]: row for row in project.json("events", "types")}
    assert rows["session.metrics"]["tables"][0] == "session_audio_metrics"
    assert "session_completed" in rows
    found = project.json("events", "types", "session.no_show")
    assert found["data"]["required"] == ["session_id", "status"]
    assert found["example"]["data"]["status"] == "no_show_tutor"
    assert "no_show_tutor | no_show_student" in project.run(
        "events", "types", "session.no_show").stdout  # fmt: skip
    assert "started_at" in project.run("events", "types", "session_completed").stdout
    said = project.run("events", "types", "session.complete", status=2).stderr
    assert "session.completed" in said


@pytest.mark.usefixtures("as_it_was")
def test_what_is_not_applied_is_tried_again_on_demand(project):
    project.execute("update ops.event_inbox set state = 'dead', error = 'ValueError: x'"
                    " where event_id = 'rated'")  # fmt: skip
    assert [row["error"] for row in project.json("events", "dead")] == ["ValueError: x"]
    assert "replay --id ID" in project.run("events", "dead").stderr
    assert project.json("events", "replay", "--id", "rated")["state"] == "waiting"
    assert ids(project, "--state", "waiting") == ["rated"]
    said = project.run("events", "replay", "--id", "rated", status=2).stderr
    assert "waits to be applied already" in said
    with project.warehouse.connect(autocommit=True) as database:
        applying.apply_waiting(database, datetime.now(UTC))
    assert "rated" in ids(project, "--state", "quarantined")
    project.run("events", "replay", "--id", "odd")
    for wrong, says in (
        (("--id", "held"), "is applied"),
        (("--id", "none"), "no event has the id"),
        (("--id", "held", "--since", "2026-01-01"), "one of the two"),
        (("--source", "shop", "--yes"), "belongs to --id"),
        ((), "say --yes"),
    ):
        assert says in project.run("events", "replay", *wrong, status=2).stderr, wrong


@pytest.mark.usefixtures("as_it_was")
def test_a_replay_mends_what_a_fault_made_of_events(project):
    project.execute("update platform.sessions set status = 'cancelled', actual_duration = 7")
    project.execute("update platform.users set email = 'by@import.example'")
    assert project.json("events", "replay", "--since", "2099-01-01", "--yes") == {"applied": 0}
    assert project.json("events", "replay", "--yes") == {"applied": 6}
    assert project.query("select status, actual_duration from platform.sessions") == [
        ("completed", 50)
    ]
    assert project.query("select distinct email from platform.users") == [("by@import.example",)]


def test_status_shows_events_where_there_are_some(project, new_project):
    found = project.json("status")["events"]
    assert found == {"waiting": 0, "oldest": None, "quarantined": 1, "unknown_types": 1, "dead": 0}
    other = new_project()
    assert "events" not in other.json("status")
    other.json("events", "secrets", "add", "shop")
    assert other.json("status")["events"]["waiting"] == 0


@pytest.mark.usefixtures("as_it_was")
def test_whoever_is_forgotten_does_not_come_back_by_an_event(project):
    post(project, "session.scheduled", "of T10", session_id="S10", tutor_id="T10",
         scheduled_start="2026-03-02T16:00:00Z")  # fmt: skip
    looked = project.json("forget", "--tutor", "T1", "--dry-run")
    assert looked["rows"]["ops.event_inbox"] == 4
    assert project.query("select count(*) from ops.event_erasures") == [(0,)]
    # Of whom there is nothing, nothing is remembered: the id may be mistyped.
    project.run("forget", "--tutor", "T77", "--yes")
    assert project.query("select count(*) from ops.event_erasures") == [(0,)]
    erased = project.json("forget", "--tutor", "T1", "--yes")
    assert erased["rows"] == looked["rows"]
    assert erased["left"] == []
    # The tutor, S1 and four events.
    assert project.query("select count(*) from ops.event_erasures") == [(6,)]
    post(project, "tutor.updated", "again", tutor_id="T1", name="Ada Park")
    post(project, "session.completed", "late", session_id="S1", actual_duration=50)
    assert ids(project, "--state", "dropped") == ["late", "again"]
    assert project.query("select sum(dropped) from ops.event_erasures") == [(2,)]
    assert "nothing of it is left" in project.run("events", "show", "late").stdout
    said = project.run("events", "replay", "--id", "late", status=2).stderr
    assert "somebody who was erased" in said
    assert project.query("select user_id from platform.tutors") == [("T2",)]
    assert ids(project, "--about", "T10") == ["of T10"]
    assert project.query("select count(*) from ops.event_inbox where body like '%%\"T1\"%%'") == [
        (0,)
    ]


@pytest.mark.usefixtures("as_it_was")
def test_what_replaces_the_platform_forgets_what_events_said(project, tmp_path):
    versions = "select count(*) > 0 from ops.event_versions"
    assert project.query(versions) == [(True,)]
    project.run("generate", "--tutors", "3", "--days", "3", "--replace", "--export-csv",
                str(tmp_path / "csv"))  # fmt: skip
    assert project.query(versions) == [(True,)]
    project.run("import", str(tmp_path / "csv"))
    assert project.query(versions) == [(True,)], "an import adds to what events brought"
    project.run("import", str(tmp_path / "csv"), "--clear")
    assert project.query(versions) == [(False,)]
    assert ids(project, "--state", "waiting") == ["rated"], "what waited is looked at anew"
    post(project, "tutor.updated", "later", 5, tutor_id="T1")
    assert project.query(versions) == [(True,)]
    project.run("generate", "--tutors", "3", "--days", "3", "--replace")
    assert project.query(versions) == [(False,)]


def test_what_nobody_reads_of_an_event_is_shown(project):
    post(project, "session.feedback", "misspelt", 6, session_id="S1", stars=4, comment="fine")
    (shown,) = project.json("events", "show", "misspelt")
    assert shown["ignored"] == ["comment", "stars"]
    assert "comment, stars" in project.run("events", "show", "misspelt").stdout


def test_a_row_that_is_gone_names_the_event_by_which(project):
    post(project, "session.scheduled", "short", 7, session_id="S5", tutor_id="T1",
         scheduled_start="2026-03-02T16:00:00Z")  # fmt: skip
    post(project, "session.deleted", "over", 8, session_id="S5")
    (row,) = project.json("events", "show", "short")[0]["rows"]
    assert set(row["overruled"].values()) == {"shop/over"}


def test_secrets_of_sources_on_the_command_line(new_project):
    project = new_project()
    first = project.json("events", "secrets", "add", "shop")["secret"]
    second = project.json("events", "secrets", "rotate", "shop", "--keep", "2")["secret"]
    assert first.startswith("whsec_") and second.startswith("whsec_") and first != second
    one, two = project.json("events", "secrets", "list")
    assert one["ends_at"] is not None and two["ends_at"] is None
    assert first not in (shown := project.run("events", "secrets", "list").stdout)
    assert second not in shown
    said = project.run("events", "secrets", "revoke", "shop", status=2).stderr
    assert "--secret NUMBER" in said and "--all" in said
    said = project.run("events", "secrets", "revoke", "shop", "--secret", "99", status=2).stderr
    assert "no secret that is good under the number 99" in said
    project.run("events", "secrets", "revoke", "shop", "--all")
    project.run("events", "secrets", "revoke", "shop", "--all", status=2)
    assert (
        "no source is called"
        in project.run("events", "secrets", "rotate", "nobody", status=2).stderr
    )
    # Nothing came yet, so nothing is lost by a made-up platform.
    project.run("generate", "--tutors", "3", "--days", "3")


def test_what_events_brought_is_not_replaced_unasked(new_project):
    project = new_project()
    project.json("events", "secrets", "add", "shop")
    post(project, "tutor.updated", "tutor", tutor_id="T1")
    said = project.run("generate", "--tutors", "3", "--days", "3", status=3).stderr
    assert "what events brought" in said


def test_a_platform_of_its_own_gets_no_events(new_project):
    project = new_project()
    project.settings["TUTOR_PLATFORM_SCHEMA"] = "public"
    for command in (["serve"], ["secrets", "add", "shop"]):
        said = project.run("events", *command, status=3).stderr
        assert "nothing is ever written to it" in said
