"""Who is erased leaves no page, no note and no alert; others keep theirs."""

from __future__ import annotations

import pytest

from tutor_pipeline.people.access.roles import Role

pytestmark = pytest.mark.usefixtures("as_before")


@pytest.mark.parametrize("role", ["tutor", "student"])
def test_nothing_of_whoever_is_erased_is_left_on_the_desk(desk, role):
    condition = "subject_kind = 'tutor'" if role == "tutor" else "subject_kind = 'student'"
    alerts = desk.rows(f"select * from ops.alerts where {condition} order by tutor_id")
    id_ = alerts[-1]["tutor_id" if role == "tutor" else "subject_id"]
    theirs = [row["alert_id"] for row in alerts if id_ in (row["tutor_id"], row["subject_id"])]
    other = desk.rows("select alert_id from ops.alerts where subject_kind = 'subject'")[0]
    with desk.person(Role.COACH, "ada") as client:
        for alert in [*theirs, other["alert_id"]]:
            for fields in (
                {"verb": "note", "text": f"{id_} moves house"},
                {"verb": "acknowledge", "text": f"asks for {id_}"},
                {"verb": "snooze", "days": "7", "text": "on leave"},
            ):
                named = {"alert": desk.seen(alert), **fields}
                assert client.post("/alerts/act", data=named).status_code == 303
        desk.project.run("forget", f"--{role}", id_, "--yes")
        for alert in theirs:
            assert client.get(f"/alerts/{alert}").status_code == 404
        kept = client.get(f"/alerts/{other['alert_id']}").text
        assert "moves house" in kept
        assert id_ not in kept
        assert id_ not in client.get("/alerts?state=all").text
        if role == "tutor":
            assert client.get(f"/tutors/{id_}").status_code == 404
    left = desk.rows(
        "select text from ops.notes union all select details::text from ops.alert_events"
    )
    assert id_ not in str(left)
    assert "moves house" in str(left)
