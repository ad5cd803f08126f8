"""The page on the data: as the checks, incidents and the quarantine have it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.integration.desk.conftest import Desk, serving, some_events
from tests.servers import free_port
from tutor_pipeline.people import incidents
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.incidents import Kind
from tutor_pipeline.sources.events import applying

pytestmark = pytest.mark.usefixtures("as_before")


def test_what_is_broken_stands_there_with_what_to_do(desk):
    with desk.warehouse.connect() as database:
        incidents.report(
            database, Kind.STUCK_QUEUE, "<b>queue</b>", "sessions wait since 3 h", {},
            run_id=None, now=datetime.now(UTC),
        )  # fmt: skip
        database.execute(
            "insert into {ops}.quarantine (source, row_key, payload, reasons, first_seen,"
            " last_seen) values ('sessions', 'k', '{{\"secret\": 1}}', '{{tutor_unknown}}', now(),"
            " now())"
        )
        database.execute(
            "insert into {ops}.dq_results (run_id, asset, check_name, owner, says, severity,"
            " blocking, status, observed, rows_checked, rows_failing, as_of) values ('r',"
            " 'marts/x', 'c', 'suite', 'Ids are <unique>.', 'error', true, 'failed', '2 twice',"
            " 10, 2, now())"
        )
    with desk.person(Role.VIEWER) as client:
        page = client.get("/data").text
    assert "sessions wait since 3 h" in page
    assert "alerts are as of before them" in page
    assert "Ids are &lt;unique&gt;." in page
    assert "Tutor unknown" in page
    assert "secret" not in page
    # Once it passes, and is over, it is gone.
    with desk.warehouse.connect() as database:
        incidents.close(database, Kind.STUCK_QUEUE, ["<b>queue</b>"], datetime.now(UTC))
        database.execute(
            "insert into {ops}.dq_results (run_id, asset, check_name, owner, says, severity,"
            " blocking, status, as_of, evaluated_at) values ('r2', 'marts/x', 'c', 'suite',"
            " 'Ids are <unique>.', 'error', true, 'passed', now(), now() + interval '1 second')"
        )
    with desk.person(Role.VIEWER) as client:
        page = client.get("/data").text
    assert "sessions wait" not in page
    assert "unique" not in page


def test_events_are_counted_and_never_shown(desk):
    with desk.person(Role.VIEWER) as client:
        assert ">Events<" not in client.get("/data").text
    with desk.warehouse.connect() as database:
        some_events(database)
        database.execute(
            "insert into {ops}.quarantine (source, row_key, payload, reasons, first_seen,"
            " last_seen) values ('events:shop', 'k', '{{}}', '{{of_an_event}}', now(), now())"
        )
    with desk.warehouse.connect() as held:
        held.lock(applying.LOCK)  # nobody applies
        with desk.warehouse.connect() as database:
            database.execute(
                "insert into {ops}.event_inbox (source, event_id, received_at, state_at, type,"
                " body, digest) values ('shop', 'w', now() - interval '3 days', now(), 't',"
                " 'secret', '')"
            )
        with desk.person(Role.VIEWER) as client:
            page = client.get("/data").text
    text = " ".join(re.sub("<[^>]+>", " ", page).split())
    assert "The platform sent 9 events in the last 24 hours. 1 event waits to be taken in" in text
    assert "3 with something wrong or missing, 2 of a type that is not read, 1 on which" in text
    assert "About a session that has not come yet 2 Hourly rate is out of range 1" in text
    assert f"Of the type session.&lt;b&gt;{'o' * 45}" in text
    assert "webhook-id is missing shop 1,200" in text
    assert "tutor-pipeline events list" in text
    assert "secret" not in page
    assert "Of an event" not in page


def test_the_report_is_for_coaches_and_can_do_nothing(desk, tmp_path):
    (tmp_path / "validation.html").write_text("<h1>The report</h1>", encoding="utf-8")
    options = replace(desk.options, port=free_port(), reports=tmp_path)
    with serving(Desk(desk.warehouse, desk.project, options)) as there:
        with there.person(Role.COACH) as client:
            assert 'href="/data/report"' in client.get("/data").text
            answer = client.get("/data/report")
        with there.person(Role.VIEWER) as client:
            assert 'href="/data/report"' not in client.get("/data").text
            assert client.get("/data/report").status_code == 403
    assert answer.text == "<h1>The report</h1>"
    policy = answer.headers["content-security-policy"].split("; ")
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    with desk.person(Role.COACH) as client:
        assert client.get("/data/report").status_code == 404


def test_patterns_count_what_sql_counts(desk):
    """By weekday and hour of the pipeline's zone, whatever it is."""
    for zone in ("UTC", "Pacific/Kiritimati"):
        expected = desk.rows(
            "select to_char(scheduled_start at time zone %s, 'Dy') as day,"
            " extract(hour from scheduled_start at time zone %s)::int as hour,"
            " count(*) filter (where is_tutor_reschedule) as moved, count(*) as n"
            " from marts.fct_sessions where scheduled_start <= now()"
            " and session_on > (now() - interval '90 days')::date"
            " and status not in ('scheduled', 'in_progress') group by 1, 2"
            " order by moved desc, n, 1 limit 1", zone, zone,
        )[0]  # fmt: skip
        warehouse = replace(desk.warehouse, timezone=zone)
        there = Desk(warehouse, desk.project, replace(desk.options, port=free_port()))
        with serving(there), there.person(Role.COACH) as client:
            page = client.get("/patterns").text
        heading = page.split("Moved by the tutor:")[1].split("</h2>")[0]
        assert f"({expected['moved']} of {expected['n']})" in heading
        assert f"at {expected['hour']:02}:00" in heading or "most often" in heading
    reasons = desk.rows("select distinct reschedule_reason as r from marts.fct_sessions"
                        " where is_tutor_reschedule and reschedule_reason is not null")  # fmt: skip
    with desk.person(Role.VIEWER) as client:
        page = client.get("/patterns").text
    assert "Reasons for moving" not in page
    assert reasons == [] or not any(f">{row['r']} " in page for row in reasons)
