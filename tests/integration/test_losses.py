"""Rows of the platform that vanish close nothing, open nothing and are told to nobody."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, suppress
from datetime import timedelta

import dagster as dg
import pytest

from tests.conftest import undone
from tests.integration.refreshes import Refreshes, stopping_at
from tests.integration.test_post_session import calm_zone, disappoint, history, teach
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.defs.incidents import build_incident_sensors
from tutor_pipeline.people import incidents

HIDE = {
    "most of the sessions": "delete from platform.sessions where hashtext(id) % 100 < 59",
    "all sessions": "truncate platform.sessions cascade",
    "the tutors": "delete from platform.tutors where hashtext(user_id) % 2 = 0",
    "a table about sessions": "truncate platform.session_feedback",
    "the old sessions": "delete from platform.sessions"
    " where scheduled_start < now() - interval '15 d'",
}
OFTEN_ENOUGH = ("all sessions", "a table about sessions", "the old sessions")
FINDINGS = (
    "select 'alert', tutor_id, alert_id, severity, resolved_at from ops.alerts"
    " union all select 'insight', tutor_id, insight_id, insight_type, resolved_at"
    " from ops.tutor_insights"
    " union all select 'achievement', tutor_id, achievement_id, title, resolved_at"
    " from ops.achievements order by 1, 2, 3"
)


@pytest.fixture(scope="module")
def platform(new_project):
    project = new_project(TUTOR_TIMEZONE=calm_zone(), TUTOR_RULE_PROFILE="conservative")
    project.run("generate", "--tutors", "25", "--days", "40")
    project.execute("delete from platform.sessions where status = 'scheduled'")
    project.execute(
        "insert into platform.tutors (user_id, active_status) values ('N1', true), ('N2', true)"
    )
    project.run("enrich")
    for table in tables(project):
        project.execute(f"create table public.kept_{table} as table platform.{table}")
    return project


def tables(project):
    """Sessions first: others refer to them."""
    found = project.query(
        "select relname from pg_class where relnamespace = 'platform'::regnamespace"
        " and relkind = 'r' order by relname not in ('users', 'tutors', 'students'),"
        " relname <> 'sessions', relname"
    )
    return [name for (name,) in found]


@pytest.fixture(scope="module")
def refreshes(platform, tmp_path_factory):
    refreshes = Refreshes(tmp_path_factory.mktemp("runs"), platform.environment)
    yield refreshes
    refreshes.stop()


def bring_back(project):
    for table in tables(project):
        project.execute(
            f"insert into platform.{table} select * from public.kept_{table} on conflict do nothing"
        )


@pytest.fixture(autouse=True)
def as_it_was(platform, server_url):
    """What a test does to the platform is undone."""
    with undone(server_url, platform.url):
        yield


def findings(project):
    return project.query(FINDINGS)


def told(project):
    return project.query("select count(*) from ops.outbox")


@pytest.mark.parametrize(
    "hide",
    [pytest.param(name, marks=[pytest.mark.long] if name in OFTEN_ENOUGH else []) for name in HIDE],
)
def test_nothing_is_derived_while_rows_are_missing(platform, refreshes, hide):
    before, messages = findings(platform), told(platform)
    platform.execute(HIDE[hide])
    # A pass: whatever changed waits.
    assert refreshes.run().materializations == []
    # A full refresh: refused with the table and the counts, and the way out.
    refused = platform.run("enrich", status=3)
    said = " ".join((refused.stdout + refused.stderr).split())
    assert "rows of the platform are missing" in said
    table = {"the tutors": "tutors:", "a table about sessions": "session_feedback:"}
    assert table.get(hide, "sessions:") in said
    assert "tutor-pipeline enrich --accept-loss" in said
    assert findings(platform) == before
    assert told(platform) == messages
    missing = platform.json("status")["data"]["missing_rows"]
    assert missing.startswith(table.get(hide, "sessions:"))
    assert missing in platform.run("attention").stderr.replace("\n", " ")

    bring_back(platform)
    disappoint(platform, "N1", name=f"back {hide} ")
    # No full refresh in between: the next pass goes on.
    assert refreshes.run().materializations
    assert platform.json("status")["data"]["missing_rows"] is None
    after = findings(platform)
    assert of_others(after) == of_others(before)


def of_others(rows):
    return [row for row in rows if row[1] not in ("N1", "N2")]  # whom tests bring along


def test_a_small_loss_each_pass_adds_up(platform, refreshes):
    lost = 0
    for step in range(12):
        ((gone,),) = platform.query(
            "with gone as (delete from platform.sessions where id in (select id from"
            " platform.sessions where tutor_id <> 'N1' order by hashtext(id) limit"
            " (select greatest(5, count(*) / 200) from platform.sessions)) returning 1)"
            " select count(*) from gone"
        )
        lost += gone
        disappoint(platform, "N2", name=f"step{step}")
        if not refreshes.run().materializations:
            break
    else:
        pytest.fail("the losses of all passes together are not noticed")
    ((had,),) = platform.query("select count(*) from public.kept_sessions")
    assert lost > 0.02 * had


def test_an_accepted_loss_is_true_and_recorded(platform):
    platform.execute(HIDE["most of the sessions"])
    platform.run("enrich", status=3)
    platform.run("enrich", "--accept-loss", "--by", "ada")
    ((by, why),) = platform.query(
        "select accepted_by, why from ops.source_states order by state_no desc limit 1"
    )
    assert by == "ada"
    assert why.startswith("sessions: ")
    platform.run("enrich")


STAYED_AWAY = (
    "insert into platform.sessions (id, tutor_id, scheduled_start, status, tutor_showed_up)"
    " select 'away-' || n, 'N2', now() - n * interval '1 day', 'no_show_tutor', false"
    " from generate_series(1, 3) as n on conflict do nothing"
)


@pytest.fixture(scope="module")
def absentee(platform):
    """N2 teaches, but did not come to three sessions: an alert is open."""
    teach(platform, "N2", *(f"good{number}" for number in range(8)), ago=timedelta(days=1))
    platform.execute(STAYED_AWAY)
    platform.run("enrich")
    return platform


def no_show_alert(project):
    (alert,) = [
        each for each in project.json("alerts", "list", "--type", "no_show_pattern")
        if each["tutor_id"] == "N2"
    ]  # fmt: skip
    return alert["alert_id"]


def test_emptied_and_filled_while_a_refresh_reads(absentee, refreshes):
    """Between two looks that see all rows, dbt sees none."""
    project, id_ = absentee, no_show_alert(absentee)
    before = project.json("alerts", "show", id_)["events"]
    teach(project, "N2", "another")
    project.execute(
        "create function public.lose() returns trigger language plpgsql as $$ begin"
        " delete from platform.sessions where id like 'away-%'; return null; end $$;"
        "create trigger lose after insert on ops.refresh_runs execute function public.lose()"
    )
    loses_no_more = (
        "create or replace function public.lose() returns trigger language plpgsql as"
        " $$ begin return null; end $$"
    )
    try:
        with stopping_at(project.url, "marts.tutor_aggregates") as wait:
            run = refreshes.start()
            wait()
            project.execute(loses_no_more)
            project.execute(STAYED_AWAY)
        run.outcome()
    finally:
        project.execute("drop function public.lose cascade")
    assert "sessions were missing while this refresh read" in run.log
    assert project.json("alerts", "show", id_)["events"] == before


def test_emptied_and_filled_while_a_full_refresh_reads(absentee):
    """Gone before it takes what changed, back when its tables stand."""
    project, id_ = absentee, no_show_alert(absentee)
    before = project.json("alerts", "show", id_)["events"]
    project.execute(
        "create function public.lose() returns trigger language plpgsql as $$ begin"
        " delete from platform.sessions where id like 'away-%'; return null; end $$;"
        "create function public.restore() returns trigger language plpgsql as"
        f" $$ begin {STAYED_AWAY}; return null; end $$;"
        "create trigger lose after insert on ops.refresh_runs execute function public.lose();"
        "create trigger restore after update on ops.refresh_runs for each row"
        " when (old.built_at is null and new.built_at is not null)"
        " execute function public.restore()"
    )
    try:
        refused = project.run("enrich", status=3)
    finally:
        project.execute("drop function public.lose cascade; drop function public.restore cascade")
    assert "sessions were missing while this refresh read" in refused.stderr
    assert project.json("alerts", "show", id_)["resolved_at"] is None
    project.run("enrich")
    assert project.json("alerts", "show", id_)["events"] == before


def test_an_alert_whose_evidence_is_gone_comes_back_as_it_was(absentee):
    """An ordinary deletion closes it and says so; ack and snooze stay for seven days."""
    project, id_ = absentee, no_show_alert(absentee)
    project.run("alerts", "ack", id_, "--by", "ada", "--note", "calling")
    project.run("alerts", "snooze", id_, "--days", "3", "--by", "ada")
    kept, messages = project.json("alerts", "show", id_), told(project)
    project.execute("delete from platform.sessions where id like 'away-%'")
    project.run("enrich")
    assert project.json("alerts", "show", id_)["resolution"] == "evidence_gone"
    project.execute(STAYED_AWAY)
    project.run("enrich")
    back = project.json("alerts", "show", id_)
    assert back["resolved_at"] is None
    for name in ("acknowledged_at", "acknowledged_by", "snoozed_until", "triggered_date"):
        assert back[name] == kept[name], name
    assert [each["event"] for each in back["events"]][-2:] == ["resolved", "reopened"]
    assert told(project) == messages


@contextmanager
def three_hours_behind(project):
    """The platform's schema is a copy without the last three hours; then the newest one again."""
    project.execute("create schema behind")
    for table in tables(project):
        project.execute(
            f"create table behind.{table} (like platform.{table} including all);"
            f"insert into behind.{table} select * from platform.{table}"
        )
    project.execute(
        "delete from behind.sessions where scheduled_start > now() - interval '3 hours';"
        "delete from behind.session_feedback"
        " where session_id not in (select id from behind.sessions);"
        "alter schema platform rename to newest; alter schema behind rename to platform"
    )
    try:
        yield
    finally:
        project.execute(
            "alter schema platform rename to behind; alter schema newest rename to platform"
        )


def taught_lately(project, tutors, each):
    """Some tutors taught in the last three hours. Returns how many sessions, and of how many."""
    ids = project.query("select user_id from platform.tutors order by user_id limit %s", tutors)
    for (id_,) in ids:
        numbers = (f"lately{number}" for number in range(each))
        teach(project, id_, *numbers, ago=timedelta(hours=1))
    (counts,) = project.query(
        "select count(*) filter (where scheduled_start > now() - interval '3 hours'), count(*)"
        " from platform.sessions where scheduled_start between now() - interval '90 days' and now()"
    )
    return counts


def told_of_alerts(project):
    return project.query(
        "select tutor_id, subject_id, transition from ops.outbox where kind = 'alert' order by 1, 2"
    )


def watch(project, monkeypatch):
    """What the sensor of incidents does every half minute."""
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    sensor = build_incident_sensors([], dg.DefaultSensorStatus.STOPPED)[-1]
    with dg.DagsterInstance.ephemeral() as instance:
        sensor(
            dg.build_sensor_context(instance=instance, resources={"warehouse": WarehouseResource()})
        )


def open_incidents(project):
    with project.warehouse.connect() as database:
        return [each["kind"] for each in incidents.listed(database)]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_replica_three_hours_behind_derives_nothing(platform, refreshes, monkeypatch):
    """One incident, not a word about a tutor; when the newest rows return, alerts flow again."""
    disappoint(platform, "N1")
    lost, known = taught_lately(platform, 25, each=4)
    assert lost > 20
    assert lost > 0.02 * known
    platform.run("enrich")
    before, messages = findings(platform), told_of_alerts(platform)
    assert history(platform, "N1")
    with three_hours_behind(platform):
        # What the copy does have of late changes nothing.
        teach(platform, "N2", *(f"old{number}" for number in range(3)), ago=timedelta(hours=9))
        for _ in range(2):
            assert refreshes.run().materializations == []
            watch(platform, monkeypatch)
        platform.run("enrich", status=3)
        assert findings(platform) == before
        assert told_of_alerts(platform) == messages
        assert open_incidents(platform) == ["source_loss"]
    disappoint(platform, "N2")
    assert refreshes.run().materializations
    watch(platform, monkeypatch)
    assert open_incidents(platform) == []
    assert of_others(findings(platform)) == of_others(before)
    assert history(platform, "N2")
    # N1 taught nothing else: the same alerts, opened once and told once.
    assert [each for each in told_of_alerts(platform) if each[0] == "N1"] == [
        each for each in messages if each[0] == "N1"
    ]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_replica_behind_by_a_few_sessions_closes_an_alert_for_a_while(platform, refreshes):
    """Within the limits a loss counts; the alert says why it closed, and comes back as it was."""
    disappoint(platform, "N1")
    lost, known = taught_lately(platform, 22, each=1)
    assert 20 < lost <= 0.02 * known
    platform.run("enrich")
    (id_, *_) = [
        each["alert_id"]
        for each in platform.json("alerts", "list", "--type", "poor_first_session_pattern")
        if each["tutor_id"] == "N1"
    ]
    platform.run("alerts", "ack", id_, "--by", "ada", "--note", "calling")
    platform.run("alerts", "snooze", id_, "--days", "3", "--by", "ada")
    kept, messages = platform.json("alerts", "show", id_), told(platform)
    with three_hours_behind(platform):
        assert refreshes.run().materializations
        gone = platform.json("alerts", "show", id_)
        assert (gone["resolution"], gone["resolved_at"] is None) == ("evidence_gone", False)
    assert refreshes.run().materializations
    back = platform.json("alerts", "show", id_)
    for name in ("resolved_at", "acknowledged_at", "acknowledged_by", "snoozed_until"):
        assert back[name] == kept[name], name
    assert back["triggered_date"] == kept["triggered_date"]
    assert [each["event"] for each in back["events"]][-2:] == ["resolved", "reopened"]
    assert told(platform) == messages


SHARES = (0.2, 1, 1.9, 3, 10, 59, 100)
"""Percent of the sessions that a step of a random schedule deletes."""


def is_lost(project):
    """Whether the loss exceeds the limits now, by other means than the pipeline's."""
    ((missing, known),) = project.query(
        "select count(*) filter (where there.id is null), count(*)"
        " from public.kept_sessions as kept"
        " left join platform.sessions as there using (id)"
        " where kept.scheduled_start > now() - interval '89 days'"
    )
    # Between the two the pipeline may see it either way: states are some minutes old.
    return missing > 21 and missing > 0.021 * known


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(20))
def test_any_schedule_of_deleting_restoring_and_killing(absentee, refreshes, seed):
    project, rng = absentee, random.Random(seed)
    opened = project.query("select alert_id from ops.alerts where resolved_at is null order by 1")
    for step in range(5):
        match rng.choice(("delete", "restore", "pass", "pass", "kill", "full")):
            case "delete":
                project.execute(
                    "delete from platform.sessions where"
                    f" hashtext(id || '{step}') % 1000 between 0 and {rng.choice(SHARES) * 10}"
                )
            case "restore":
                bring_back(project)
                project.execute(STAYED_AWAY)
            case act:
                before, messages, lost = findings(project), told(project), is_lost(project)
                teach(project, rng.choice(["N1", "N2"]), f"{seed} {step}")
                if act == "full":
                    project.zygote.run(["enrich"], project.environment)
                else:
                    run = refreshes.start()
                    if act == "kill":
                        time.sleep(rng.uniform(0, 2))
                        with suppress(ProcessLookupError, AssertionError):
                            run.kill()
                    else:
                        run.outcome()
                if lost:
                    assert findings(project) == before, f"step {step}: {act}"
                    assert told(project) == messages
    bring_back(project)
    project.execute(STAYED_AWAY)
    project.run("enrich")
    still = project.query("select alert_id from ops.alerts where resolved_at is null order by 1")
    assert set(opened) <= set(still)
    assert (
        project.query(
            "select tutor_id, subject_id, transition from ops.outbox where kind = 'alert'"
            " group by 1, 2, 3 having count(*) > 1"
        )
        == []
    )


def test_who_replaces_the_platform_accepts_what_comes(platform, tmp_path):
    def newest():
        ((why, counts),) = platform.query(
            "select why, counts from ops.source_states order by state_no desc limit 1"
        )
        return why, counts

    platform.run("clear", "--yes")
    assert newest() == ("tutor-pipeline clear", {})
    platform.run("generate", "--tutors", "12", "--days", "20")
    assert newest() == ("tutor-pipeline generate", {})
    platform.run("generate", "--tutors", "12", "--days", "20", "--export-csv", str(tmp_path))
    platform.run("import", "--clear", str(tmp_path))
    assert newest() == ("tutor-pipeline import --clear", {})
    # A twelfth of the tutors, and nobody asks.
    platform.run("enrich")
    assert newest()[1]["tutors"] == 12
