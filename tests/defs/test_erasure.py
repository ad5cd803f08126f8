"""A person in Dagster's own tables, whose texts are JSON or not. That Dagster still reads them is
seen where it has really run (tests/integration/test_forget.py).
"""

import json

import psycopg
import pytest

from tutor_pipeline.core.warehouse.dagster_erasure import mask_history, runs_in_progress
from tutor_pipeline.core.warehouse.personal_data import ERASED, Person, Role

PERSON = Person(Role.TUTOR, "T1")
EVENT = {
    "label": "what_changed",
    "md": "| what | tutor |\n| opened | T1 |\n| opened | T10 |",
    "records": [{"data": {"what": "opened", "tutor": "T10", "why": "T1 is late"}}],
}


@pytest.fixture
def dagster(databases):
    with psycopg.connect(databases.create(migrated=False), autocommit=True) as connection:
        yield connection


def test_before_dagster_has_run_there_is_nothing(dagster):
    assert mask_history(dagster, PERSON) == {}
    assert runs_in_progress(dagster) == 0


def test_the_id_is_masked_and_all_else_stays(dagster):
    dagster.execute(
        "create table event_logs (id bigint, event text);"
        "create table run_tags (id bigint, value text);"
        "create table runs (id bigint, run_body text, status text)"
    )
    other = json.dumps({"unreadable": {"T10": "T1-2"}}, separators=(",", ":"))
    dagster.execute("insert into event_logs values (1, %s), (2, %s)", (json.dumps(EVENT), other))
    dagster.execute("insert into run_tags values (1, 'T1, T2'), (2, '12')")
    body = json.dumps({"run_config": {"tutors": ["T1", "T2"]}})
    dagster.execute("insert into runs values (1, %s, 'STARTED'), (2, '{}', 'SUCCESS')", (body,))
    found = {"event_logs": 1, "run_tags": 1, "runs": 1}
    assert mask_history(dagster, PERSON, write=False) == found
    assert mask_history(dagster, PERSON) == found
    assert mask_history(dagster, PERSON) == {}
    events = dagster.execute("select event from event_logs order by id").fetchall()
    assert json.loads(events[0][0]) == EVENT | {
        "md": EVENT["md"].replace("T1 ", f"{ERASED} "),
        "records": [{"data": {"what": "opened", "tutor": "T10", "why": f"{ERASED} is late"}}],
    }
    assert events[1] == (other,)
    assert dagster.execute("select value from run_tags order by id").fetchall() == [
        (f"{ERASED}, T2",), ("12",),
    ]  # fmt: skip
    (run, _) = dagster.execute("select run_body from runs order by id").fetchall()
    assert json.loads(run[0]) == {"run_config": {"tutors": [ERASED, "T2"]}}
    assert runs_in_progress(dagster) == 1


@pytest.mark.parametrize(
    ("status", "runs"),
    [
        *[("STARTED", 1), ("STARTING", 1), ("CANCELING", 1)],
        *[("QUEUED", 0), ("NOT_STARTED", 0), ("SUCCESS", 0), ("FAILURE", 0), ("CANCELED", 0)],
    ],
)
def test_a_run_that_may_still_write_is_in_progress(dagster, status, runs):
    dagster.execute("create table runs (status text)")
    dagster.execute("insert into runs values (%s)", (status,))
    assert runs_in_progress(dagster) == runs
