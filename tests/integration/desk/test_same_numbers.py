"""Whatever people do: list, badge, digest, command line and page count the same; so do page,
command line and digest of what became of alerts.
"""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.notify import digest_content
from tutor_pipeline.people.notify.digest_data import week_data

ACTS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                {"verb": "acknowledge", "text": "seen"},
                {"verb": "assign"},
                {"verb": "snooze", "days": "3"},
                {"verb": "snooze", "days": "30"},
                {"verb": "wake"},
                {"verb": "resolve", "reason": "coached"},
                {"verb": "reopen"},
                {"verb": "time passes"},
            ]
        ),
        st.sets(st.integers(0, 200), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=6,
)


def counted(desk, client):
    """What each of the five says: (tutors who need a call, critical alerts)."""
    now = desk.clock() + timedelta(seconds=1)
    listed = client.get("/alerts.json").json()
    about_tutors = [row for row in listed if row["subject_kind"] == "tutor"]
    page = client.get("/").text
    told = re.search(r"<strong>(\d+) tutors? needs? a call", page)
    badge = re.search(r'class="badge critical">.*?</span>(\d+)<', page)
    shown = re.search(r"(\d+) critical alert", page)
    with desk.warehouse.connect() as database:
        digest = week_data(database, (now - timedelta(days=now.weekday())).date(), now)["in_need"]
    on_the_command_line = desk.project.json("attention", "--limit", "1000")
    tutors = {
        "list": len({row["tutor_id"] for row in about_tutors}),
        "tutors": len(client.get("/tutors.json?group=attention").json()),
        "page": int(told[1]) if told else 0,
        "digest": digest,
        "command line": len(on_the_command_line),
    }
    critical = {
        "list": sum(row["severity"] == "critical" for row in listed),
        "badge": int(badge[1]) if badge else 0,
        "page": int(shown[1]) if shown else 0,
        # It tells of tutors alone.
        "command line": sum(row["critical_alerts"] for row in on_the_command_line)
        + sum(row["severity"] == "critical" for row in listed if row not in about_tutors),
    }
    return tutors, critical


def outcomes_told(desk, client):
    """What each of the three says of critical alerts that ended."""
    now = desk.clock() + timedelta(seconds=1)
    page = html.unescape(client.get("/alerts/activity").text)
    with desk.warehouse.connect() as database:
        week = week_data(database, (now - timedelta(days=now.weekday())).date(), now)
    digest = digest_content.digest(week, {})["outcomes"]
    command = desk.project.run("alerts", "activity").stdout
    found = {}
    for name, text in (("page", page), ("digest", digest), ("command", command)):
        words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
        found[name] = re.findall(
            r"\d+ critical alerts? ended in 30 days|\d+ of \d+ acted on \([\d.]+ %"
            r"|after [\d.]+ hours on average, of \d+|none acknowledged"
            r"|\d+ not actionable \([\d.]+ %",
            words.replace("\u00a0", " "),
        )
    return found


@pytest.mark.usefixtures("as_before")
def test_three_tell_the_same_outcomes(desk):
    with desk.person(Role.COACH, "ada") as client:
        told = outcomes_told(desk, client)
        assert told["page"] == told["digest"] == told["command"]
        critical = desk.rows(
            "select alert_id from ops.alerts where severity = 'critical' and resolved_at is null"
        )
        for number, row in enumerate(critical):
            for fields in (
                {"verb": "acknowledge", "text": "seen"},
                {"verb": "resolve", "reason": ("coached", "not_actionable")[number % 2]},
            )[number % 3 == 2 :]:
                posted = {**fields, "alert": desk.seen(row["alert_id"]), "bulk": "1"}
                assert client.post("/alerts/act", data=posted).status_code == 200
        told = outcomes_told(desk, client)
        assert len(critical) > 1
        assert len(told["page"]) == 4
        assert told["page"] == told["digest"] == told["command"]
        assert f"{len(critical)} of {len(critical)} acted on (100 %" in told["page"]


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("examples", [6, pytest.param(60, marks=pytest.mark.long)])
def test_five_count_the_same(desk, examples):
    with desk.person(Role.COACH, "ada") as client:
        ids = [row["alert_id"] for row in desk.rows("select alert_id from ops.alerts order by 1")]

        @settings(
            max_examples=examples, suppress_health_check=[HealthCheck.function_scoped_fixture]
        )
        @given(ACTS)
        def any_acts(acts):
            for fields, numbers in acts:
                chosen = sorted({ids[number % len(ids)] for number in numbers})
                if fields["verb"] == "time passes":
                    with desk.warehouse.connect() as database:
                        database.execute(
                            "update ops.alerts set snoozed_until = now() - interval '1 second'"
                            " where alert_id = any(%s) and snoozed_until > now()",
                            (chosen,),
                        )
                    continue
                named = [desk.seen(each) for each in chosen]
                done = client.post(
                    "/alerts/act", data={**fields, "alert": named, "bulk": "1"}
                ).status_code
                assert done == 200
            tutors, critical = counted(desk, client)
            assert len(set(tutors.values())) == 1, tutors
            assert len(set(critical.values())) == 1, critical

        any_acts()
        # Were nothing open, all would agree on nothing.
        client.post(
            "/alerts/act",
            data={"verb": "reopen", "alert": [desk.seen(each) for each in ids], "bulk": "1"},
        )
        client.post(
            "/alerts/act",
            data={"verb": "wake", "alert": [desk.seen(each) for each in ids], "bulk": "1"},
        )
        tutors, critical = counted(desk, client)
        assert set(tutors.values()) == {tutors["list"]} != {0}
        assert set(critical.values()) == {critical["list"]} != {0}
