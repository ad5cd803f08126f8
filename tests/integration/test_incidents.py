"""What people read of the pipeline's own troubles: the verb incidents, and status."""

from datetime import UTC, datetime, timedelta

import pytest

from tutor_pipeline.people import incidents
from tutor_pipeline.people.incidents import Kind

AT = datetime.now(UTC) - timedelta(hours=3)


@pytest.fixture(scope="module")
def project(new_project):
    project = new_project()
    project.run("status")  # makes the schemas
    with project.warehouse.connect() as database:
        for hours, why in ((0, "first"), (1, "boom \x1b[31m[bold]x[/bold]")):
            incidents.report(
                database,
                Kind.RUN_FAILURE,
                "daily_refresh",
                "daily_refresh fails",
                {"why": why},
                run_id=f"run-{hours}",
                now=AT + timedelta(hours=hours),
            )
        incidents.report(
            database, Kind.STUCK_QUEUE, "new_sessions", "Sessions wait", {}, run_id=None, now=AT
        )
        incidents.close(database, Kind.STUCK_QUEUE, ["new_sessions"], AT)
    return project


def test_an_open_incident_says_what_it_means_and_what_to_do(project):
    shown = project.run("incidents").stdout
    assert "OPEN daily_refresh fails" in shown
    assert "2 times" in shown
    assert "Sessions wait" not in shown
    for sentence in incidents.MEANING[Kind.RUN_FAILURE]:
        assert sentence in shown
    assert "\x1b[31m" not in shown
    assert "[bold]x[/bold]" in shown


def test_those_that_are_over_are_shown_on_demand(project):
    assert "over Sessions wait" in project.run("incidents", "--all").stdout
    assert "Sessions wait" not in project.run("incidents", "--all", "--limit", "1").stdout
    rows = project.json("incidents", "--all")
    assert {row["kind"]: row["closed_at"] is None for row in rows} == {
        "run_failure": True,
        "stuck_queue": False,
    }
    assert all(row["means"] and row["next"] for row in rows)


def test_status_counts_what_is_open(project):
    assert project.json("status")["incidents"]["open"] == 1
