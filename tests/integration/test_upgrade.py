"""A project of an earlier version, with alerts and what people did about them, goes on."""

import pytest


@pytest.fixture(scope="module")
def old(project, move):
    """As revision 0002 left it: tables built, alerts made, one acknowledged, one resolved."""
    project.run("generate", "--seed", "7")
    project.run("enrich")
    acknowledged, resolved = (alert["alert_id"] for alert in project.json("alerts", "list")[:2])
    project.run("alerts", "ack", acknowledged, "--by", "ada", "--note", "calling")
    project.run("alerts", "resolve", resolved, "--reason", "coached", "--by", "ada")
    move(project.warehouse, "0002")
    return project


def history(project):
    """Alerts by their id with what must not change, and their events in order."""
    alerts = project.query(
        "select alert_id, tutor_id, alert_type, occurrence, triggered_date, acknowledged_by,"
        " acknowledged_note, resolved_at, resolution, known_session_ids from ops.alerts order by 1"
    )
    events = project.query(
        "select alert_id, event_no, event, at, actor, details from ops.alert_events order by 1, 2"
    )
    return alerts, events


@pytest.mark.long
def test_refreshes_after_the_upgrade_go_on_with_the_same_alerts(old):
    alerts, events = history(old)
    assert len(alerts) >= 3
    assert len(events) == len(alerts) + 2
    for _ in range(2):
        made = old.json("enrich")["alerts"]
        assert (made["opened"], made["resolved"]) == (0, 0)
        assert made["confirmed"] == len(alerts) - 1  # the resolved one has nothing new to show
        assert history(old) == (alerts, events)
    assert old.query("select count(*) > 0 from ops.session_ledger") == [(True,)]
    assert old.query("select count(*) > 0 from ops.tutor_insights") == [(True,)]
