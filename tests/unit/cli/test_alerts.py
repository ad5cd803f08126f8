"""`alerts activity`: which days count."""

import json
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from tests.unit.people.reports.conftest import NOW, Ops
from tutor_pipeline.cli import alerts


@pytest.fixture
def activity(warehouse, monkeypatch, capsys):
    """The command at a moment, and what it prints of how many days."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return NOW

    monkeypatch.setattr(alerts, "datetime", Clock)
    monkeypatch.setattr(alerts, "open_session", lambda _: SimpleNamespace(warehouse=warehouse))

    def run(days, **options):
        alerts.activity(days, **{"by_day": False, "as_json": False} | options)
        return capsys.readouterr().out

    yield run
    with warehouse.connect() as database:
        database.execute("truncate {ops}.alerts, {ops}.alert_events")


@pytest.fixture
def an_alert_a_day(warehouse):
    """One opened on each of the last ten days, just after midnight."""
    with warehouse.connect() as database:
        ops = Ops(database)
        for ago in range(10):
            at = NOW.replace(hour=0, minute=0) - timedelta(days=ago)
            ops.alert(f"T{ago}", alert_id=f"a{ago}", triggered_date=at)
            ops.insert(
                "alert_events",
                tutor_id=f"T{ago}", alert_id=f"a{ago}", event_no=1, event="opened", at=at,
                actor="pipeline", details="{}",
            )  # fmt: skip


@pytest.mark.parametrize(("days", "first"), [(1, "2026-03-10"), (7, "2026-03-04")])
def test_so_many_days_are_today_and_those_before(activity, an_alert_a_day, days, first):
    by_day = json.loads(activity(days, by_day=True, as_json=True))
    assert (len(by_day), by_day[-1]["day"]) == (days, first)
    of_type, of_all = json.loads(activity(days, as_json=True))
    assert (of_type["opened"], of_all["opened"]) == (days, days)


@pytest.mark.parametrize(("days", "first"), [(1, "2026-03-10"), (7, "2026-03-04")])
def test_where_nothing_happened_it_says_since_when(activity, days, first):
    assert activity(days) == f"Nothing happened to an alert since {first}.\n"
