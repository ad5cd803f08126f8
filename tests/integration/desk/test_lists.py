"""Lists: their filters against plain SQL, their files, names and texts of the platform's."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.desk.conftest import Desk, serving
from tests.servers import free_port
from tutor_pipeline.desk.filters import AGES, ALERT_ORDERS, STATES, AlertFilter, TutorFilter
from tutor_pipeline.desk.options import StudentNames
from tutor_pipeline.desk.tables import defused
from tutor_pipeline.people.access.roles import Role

needs_undoing = pytest.mark.usefixtures("as_before")

SQL_OF_STATE = {
    "active": "resolved_at is null and (snoozed_until is null or snoozed_until <= now())",
    "new": "resolved_at is null and (snoozed_until is null or snoozed_until <= now())"
    " and acknowledged_at is null",
    "acknowledged": "resolved_at is null and (snoozed_until is null or snoozed_until <= now())"
    " and acknowledged_at is not null",
    "snoozed": "resolved_at is null and snoozed_until > now()",
    "resolved": "resolved_at is not null",
    "all": "true",
}


@pytest.fixture
def acted(desk, as_before):
    """A desk where alerts are in every state."""
    rows = desk.rows("select alert_id, tutor_id from ops.alerts order by 1")
    with desk.person(Role.COACH, "ada") as ada:
        for row, fields in zip(
            rows,
            [{"verb": "acknowledge"}, {"verb": "snooze", "days": "7"}, {"verb": "assign"},
             {"verb": "resolve", "reason": "fixed"}],
            strict=False,
        ):  # fmt: skip
            ada.post("/alerts/act", data={"alert": desk.seen(row["alert_id"]), **fields})
    with desk.warehouse.connect() as database:
        database.execute(
            "update ops.alerts set triggered_date = triggered_date - interval '5 days'"
            " where alert_id = %s", (rows[-1]["alert_id"],),
        )  # fmt: skip
        database.execute(
            "update ops.alert_events set at = at - interval '5 days' where alert_id = %s"
            " and event_no = 1", (rows[-1]["alert_id"],),
        )  # fmt: skip
    return desk


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("", "true"),
        ("severity=critical", "severity = 'critical'"),
        ("about=student", "subject_kind = 'student'"),
        ("owner=ada", "coalesce(owner, acknowledged_by) = 'ada'"),
        ("owner=nobody", "coalesce(owner, acknowledged_by) is null"),
        ("older=3", "triggered_date < now() - interval '3 days'"),
        ("type=losing_interest", "alert_type = 'losing_interest'"),
        ("q=seldom&about=subject", "subject_kind = 'subject'"),
        ("q=%25", "title like '%%\\%%%%' or description like '%%\\%%%%'"),
    ],
)
def test_filters_find_what_sql_finds(acted, state, query, condition):
    expected = acted.rows(
        f"select alert_id from ops.alerts where {SQL_OF_STATE[state]} and ({condition}) order by 1"
    )
    with acted.person(Role.VIEWER) as client:
        found = client.get(f"/alerts.json?state={state}&{query}").json()
        page = client.get(f"/alerts?state={state}&{query}").text
    assert sorted(row["alert_id"] for row in found) == [row["alert_id"] for row in expected]
    assert set(re.findall(r'href="/alerts/([0-9a-f]{12})"', page)) == {
        row["alert_id"] for row in expected
    }


def test_a_search_finds_tutors_and_students_by_name(acted):
    alert = acted.rows(
        "select alert_id, name from ops.alerts inner join marts.dim_tutors using (tutor_id)"
        " where subject_kind = 'tutor' order by 1 limit 1"
    )[0]
    student = acted.rows(
        "select alert_id, name from ops.alerts inner join marts.dim_students"
        " on subject_id = student_id where subject_kind = 'student' order by 1 limit 1"
    )[0]
    for role, rows in ((Role.VIEWER, [alert]), (Role.COACH, [alert, student])):
        with acted.person(role) as client:
            for row in rows:
                words = quote(row["name"].upper())
                found = client.get(f"/alerts.json?state=all&q={words}").json()
                assert row["alert_id"] in [each["alert_id"] for each in found]
    with acted.person(Role.VIEWER) as client:
        found = client.get(f"/alerts.json?state=all&q={quote(student['name'])}").json()
        assert found == [], "who reads initials alone can't guess names"


def test_tutors_are_those_of_the_marts(desk):
    expected = desk.rows(
        "select tutor_id, overall_score, sessions_30d, avg_rating_30d, risk.level"
        " from marts.tutor_aggregates left join ops.current_tutor_risk as risk using (tutor_id)"
        " order by tutor_id"
    )
    with desk.person(Role.VIEWER) as client:
        rows = client.get("/tutors.json").json()
        by_id = {row["tutor_id"]: row for row in rows}
        assert sorted(by_id) == [row["tutor_id"] for row in expected]
        for row in expected:
            shown = by_id[row["tutor_id"]]
            assert shown["overall_score"] == row["overall_score"]
            assert shown["sessions_30d"] == row["sessions_30d"]
            assert shown["risk_level"] == row["level"]
        scores = [row["overall_score"] for row in client.get("/tutors.json?group=best").json()]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == len(desk.rows("select 1 from marts.tutor_scoreboard"))
        needing = {row["tutor_id"] for row in client.get("/tutors.json?group=attention").json()}
    held = desk.rows("select tutor_id from ops.tutors_needing_attention")
    assert needing == {row["tutor_id"] for row in held}


@pytest.mark.parametrize(
    ("group", "condition"),
    [
        ("risk", "level in ('High', 'Medium')"),
        ("at_risk", "segment = 'at_risk'"),
        ("churned", "segment like 'churned%%'"),
        ("healthy", "segment in ('healthy', 'thriving')"),
        ("unknown", "segment is null"),
        ("all", "true"),
    ],
)
def test_students_are_those_of_the_scores(desk, group, condition):
    expected = desk.rows(
        "select student_id from marts.student_aggregates left join ops.student_health as health"
        " using (student_id) left join (select distinct on (student_id) student_id, level"
        " from ops.student_scores where target = 'student_departure'"
        " order by student_id, as_of desc) as risk using (student_id)"
        f" where {condition} order by 1"
    )
    with desk.person(Role.VIEWER) as client:
        found = client.get(f"/students.json?group={group}").json()
        page = client.get(f"/students?group={group}").text
    assert sorted(row["student_id"] for row in found) == [row["student_id"] for row in expected]
    assert len(found) <= 50 or f"of {len(found):,} students" in page
    assert all("name" not in row for row in found), "first name and initial alone"


def test_who_loses_students_is_as_the_platform_has_it(desk):
    expected = desk.rows(
        "select last_tutor_id as tutor_id, count(*) as n from marts.student_aggregates"
        " where churned_date > current_date - 90 and last_tutor_id is not null"
        " group by 1 order by 2 desc, 1 limit 1"
    )
    with desk.person(Role.COACH) as client:
        page = client.get("/students").text
        if expected:
            told = page.split("Tutors whose students left")[1]
            assert f">{expected[0]['n']}</a>" in told
        student = desk.rows("select student_id, name from marts.dim_students order by 1 limit 1")[0]
        by_name = client.get("/students.json", params={"group": "all", "q": student["name"]}).json()
        assert student["student_id"] in [row["student_id"] for row in by_name]
    with desk.person(Role.VIEWER) as client:
        by_name = client.get("/students.json", params={"group": "all", "q": student["name"]}).json()
        assert by_name == []


def test_sessions_of_a_day_are_those_of_the_marts(desk):
    (day,) = desk.rows(
        "select session_on, count(*) as n from marts.fct_sessions where scheduled_start <= now()"
        " and status not in ('scheduled', 'in_progress') group by 1 order by 1 desc limit 1"
    )
    with desk.person(Role.VIEWER) as client:
        newest = client.get("/sessions.json").json()
        assert len(newest) == day["n"]
        assert client.get(f"/sessions.json?day={day['session_on']}").json() == newest
        assert client.get("/sessions.json?day=1999-01-01").json() == []
        assert "No session that fits" in client.get("/sessions?day=1999-01-01").text
        assert client.get("/sessions?day=soon").status_code == 400


@needs_undoing
def test_files_hold_the_list_and_no_formula(desk):
    tutor = desk.rows("select tutor_id from ops.alerts where subject_kind = 'tutor' limit 1")[0]
    with desk.warehouse.connect() as database:
        database.execute(
            "update marts.dim_tutors set name = '=cmd|'' /C calc''!A0, \"x\"' where tutor_id = %s",
            (tutor["tutor_id"],),
        )
    with desk.person(Role.VIEWER) as client:
        answer = client.get("/alerts.csv?about=tutor&q=cmd")
        assert answer.headers["content-disposition"] == 'attachment; filename="alerts.csv"'
        rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
        found = client.get("/alerts.json?about=tutor&q=cmd").json()
        assert client.get("/tutors.csv").status_code == 200
        assert client.get("/sessions.csv").status_code == 200
    assert rows[0]["name"] == "'=cmd|' /C calc'!A0, \"x\""
    assert len(rows) == len(found)
    assert "acknowledged_note" not in rows[0]
    noted = desk.rows(
        "select account, what, row_count from ops.downloads where what like '/alerts.csv%%'"
    )
    assert noted[0] == {
        "account": "viewer", "what": "/alerts.csv?about=tutor", "row_count": len(rows),
    }  # fmt: skip
    assert "cmd" not in json.dumps(noted)


@given(st.text(max_size=20))
def test_no_cell_of_a_file_is_run(text):
    shown = defused(text)
    assert shown.replace("'", "") == text.replace("'", "")
    for cell in re.split(r"[;\t\r\n]", shown):
        assert not re.match(r"\s*[=+@]", cell) or re.fullmatch(r"[-+]?[0-9.]+", text.strip()), "run"
    if shown[:1] in ("=", "+", "-", "@", "\t", "\r"):
        float(shown)


NASTY = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'; drop table ops.alerts; --",
    "{{ 7 * 7 }}", "\u202eevil", "a\u0000b", "名前", "x" * 500, "&amp;", "javascript:alert(1)",
]  # fmt: skip


@needs_undoing
@pytest.mark.parametrize("nasty", NASTY)
def test_names_and_texts_of_the_platform_are_only_text(desk, nasty):
    stored = nasty.replace("\0", "")
    alert = desk.alert()
    tutor = desk.rows("select tutor_id from ops.alerts where alert_id = %s", alert)[0]["tutor_id"]
    with desk.warehouse.connect() as database:
        database.execute("update marts.dim_tutors set name = %s, primary_subject = %s"
                         " where tutor_id = %s", (stored, stored, tutor))  # fmt: skip
        database.execute("update ops.alerts set title = %s, description = %s,"
                         " recommended_action = %s where alert_id = %s",
                         (stored, stored, stored, alert))  # fmt: skip
        database.execute("update marts.dim_students set name = %s", (stored,))
        database.execute("update marts.fct_sessions set subject = %s, feedback_text = %s"
                         " where tutor_id = %s", (stored, stored, tutor))  # fmt: skip
    session = desk.rows("select session_id from marts.fct_sessions where tutor_id = %s limit 1",
                        tutor)[0]["session_id"]  # fmt: skip
    with desk.person(Role.COACH) as client:
        client.post("/alerts/act", data={"alert": desk.seen(alert), "verb": "assign",
                                         "owner": nasty[:64]})  # fmt: skip
        client.post("/notes", data={"tutor_id": tutor, "text": nasty})
        pages = ["/", f"/alerts/{alert}", "/alerts", f"/alerts?q={quote(nasty[:200])}",
                 f"/tutors/{tutor}", "/tutors", f"/sessions/{session}?of={tutor}",
                 f"/sessions?tutor={tutor}"]  # fmt: skip
        for path in pages:
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert "<script>alert" not in answer.text
            assert "<img" not in answer.text
            # What a form sends back stays as it is.
            assert "\u202e" not in re.sub(r"<[^>]*>", "", answer.text)
            assert 'href="javascript' not in answer.text


@pytest.mark.parametrize("names", StudentNames)
def test_students_are_named_as_the_setting_says(desk, names):
    row = desk.rows(
        "select tutor_id, session_id, student_id, name from marts.fct_sessions"
        " inner join marts.dim_students using (student_id) where name like '%% %%' order by 1, 2"
    )[0]
    first, last = row["name"].split(" ", 1)
    as_told = {StudentNames.FULL: row["name"], StudentNames.SHORT: f"{first} {last[0]}.",
               StudentNames.ID: row["student_id"]}  # fmt: skip
    options = replace(desk.options, port=free_port(), student_names=names)
    with (
        serving(Desk(desk.warehouse, desk.project, options)) as other,
        other.person(Role.COACH) as client,
    ):
        page = client.get(f"/sessions/{row['session_id']}?of={row['tutor_id']}").text
        listed = client.get(f"/sessions.json?tutor={row['tutor_id']}").text
    assert as_told[names] in page
    for other_names, text in as_told.items():
        # An id is part of the file, and a whole name holds none of the others.
        if other_names is StudentNames.FULL and names is not StudentNames.FULL:
            assert text not in page
            assert text not in listed


@needs_undoing
@pytest.mark.parametrize("id_", ["a/b", "a b", "a?b#c", "é", "a%2Fb", "x.csv", "..", "a:b"])
def test_ids_of_any_form_have_a_page(desk, id_):
    """Other platforms have other ids; addresses hold them."""
    row = desk.rows("select tutor_id, session_id from marts.fct_sessions order by 1, 2 limit 1")[0]
    with desk.warehouse.connect() as database:
        database.execute("update marts.fct_sessions set session_id = %s where session_id = %s",
                         (id_, row["session_id"]))  # fmt: skip
        for table in ("fct_sessions", "dim_tutors", "tutor_aggregates"):
            database.execute(f"update {{marts}}.{table} set tutor_id = %s where tutor_id = %s",
                             (id_, row["tutor_id"]))  # fmt: skip
    with desk.person(Role.COACH) as client:
        listed = client.get(f"/sessions?tutor={quote(id_, safe='')}").text
        link = next(
            each for each in re.findall(r'href="(/sessions/[^"]+)"', listed)
            if each.startswith(f"/sessions/{quote(id_, safe='')}?")
        )  # fmt: skip
        if id_ != "..":  # no client asks for it: it is a part of an address to everybody
            assert f"Session {id_}." in client.get(link.replace("&amp;", "&")).text
            assert client.get(f"/tutors/{quote(id_, safe='')}").status_code == 200


texts = st.text(max_size=30).map(lambda text: text.replace("\0", ""))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {},
        optional={"q": texts, "state": st.sampled_from(list(STATES)), "owner": texts,
                  "older": st.sampled_from(list(AGES)), "type": texts,
                  "order": st.sampled_from(list(ALERT_ORDERS)),
                  "page": st.integers(1, 10_000).map(str)},
    )
)  # fmt: skip
def test_an_address_says_what_was_asked_for(asked):
    from urllib.parse import parse_qsl

    found = AlertFilter.of(asked)
    address = found.address(page=found.page)
    assert AlertFilter.of(dict(parse_qsl(address.removeprefix("?")))) == found
    assert found.sentence()
    assert (found.address(page=1) == "") == (found.address() == "")
    assert TutorFilter.of({}).is_plain


def test_a_page_beyond_the_end_says_so_and_a_file_has_all_pages(desk):
    with desk.person(Role.VIEWER) as client:
        assert "nothing more, of 1 alert" in client.get("/alerts?about=subject&page=7").text
        tutors = client.get("/tutors?page=7").text
        assert "nothing more, of" in tutors
        for name in ("alerts", "tutors", "sessions"):
            whole = client.get(f"/{name}.csv").text
            assert client.get(f"/{name}.csv?page=2").text == whole
            assert whole.count("\n") > 1


@needs_undoing
def test_before_the_first_refresh_has_ended_pages_say_so(desk):
    with desk.warehouse.connect() as database:
        for table in ("platform_metrics", "dim_tutors"):
            database.execute(f"drop table {{marts}}.{table} cascade")
    with desk.person(Role.COACH) as client:
        for path in ("/", "/alerts", "/tutors", "/sessions"):
            page = client.get(path)
            assert page.status_code == 200
            assert "Nothing is computed yet" in page.text
        assert client.get("/tutors/T0001").status_code == 404
        assert client.get("/alerts.json").status_code == 503


def test_days_and_times_are_the_pipelines(desk):
    """Half a day before and after UTC: a page shows the day that the pipeline has."""
    row = desk.rows("select tutor_id, session_id, scheduled_start from marts.fct_sessions"
                    " order by scheduled_start, session_id limit 1")[0]  # fmt: skip
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        warehouse = replace(desk.warehouse, timezone=zone)
        there = Desk(warehouse, desk.project, replace(desk.options, port=free_port()))
        with serving(there), there.person(Role.COACH) as client:
            page = client.get(f"/sessions/{quote(row['session_id'])}?of={row['tutor_id']}").text
            local = row["scheduled_start"].astimezone(ZoneInfo(zone))
            assert f" {local.day} " in page.split("<h1>")[1].split("</h1>")[0]
            assert f"{local:%H:%M}" in page
            assert zone.replace("_", " ") in page
            for path in ("/", "/alerts", "/alerts/activity", f"/tutors/{row['tutor_id']}"):
                assert client.get(path).status_code == 200
