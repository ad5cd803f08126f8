"""Two refreshes at once, and kills at any moment: the state is that of one clean run."""

import random
import signal
import time

import pytest

AS_OF = ("--as-of", "latest")
END = "2026-03-31"

STATE = {
    "alerts": "select tutor_id, alert_id, alert_type, severity, description, metrics,"
    " evidence_session_ids, triggered_date, last_confirmed_at, resolved_at from ops.alerts"
    " order by 1, 2",
    "events": "select tutor_id, alert_id, event_no, event, at, actor, details"
    " from ops.alert_events order by 1, 2, 3",
    "aggregates": "select * from marts.tutor_aggregates order by tutor_id",
    "days": "select * from intermediate.int_tutor_days order by tutor_id, session_on",
    "sessions": "select * from marts.fct_sessions order by tutor_id, session_id",
}


def state(project):
    return {name: project.query(query) for name, query in STATE.items()}


@pytest.fixture(scope="module")
def make(new_project):
    def build():
        project = new_project()
        project.run("generate", "--end", END)
        return project

    return build


@pytest.fixture(scope="module")
def clean(make):
    project = make()
    project.run("enrich", *AS_OF)
    return state(project)


@pytest.mark.long
def test_two_at_once_leave_what_one_leaves(make, clean):
    project = make()
    runs = [project.start("enrich", *AS_OF) for _ in range(2)]
    assert [run.wait(timeout=240) for run in runs] == [0, 0]
    assert clean["alerts"]
    assert state(project) == clean
    assert (
        project.query(
            "select tutor_id, alert_type from ops.alerts where resolved_at is null"
            " group by 1, 2 having count(*) > 1"
        )
        == []
    )


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_and_run_again(make, clean, seed):
    project = make()
    draw = random.Random(seed)
    for _ in range(8):
        run = project.start("enrich", *AS_OF)
        time.sleep(draw.uniform(2.0, 12.0))
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=60)
    project.run("enrich", *AS_OF)
    assert state(project) == clean
