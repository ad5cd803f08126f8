"""Which alerts a command acts on."""

import pytest

from tests.unit.people.reports.conftest import DAY, NOW
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.judgement.lifecycle.active import tutors_in_need
from tutor_pipeline.people.reports.alert_queries import (
    alert_ids,
    alert_ids_of,
    alerts,
    open_alert_types,
)
from tutor_pipeline.people.reports.tutor_queries import short_ids

BY_ANA = {"resolved_at": NOW, "resolved_by": "ana", "resolution": "coached"}
BY_ITSELF = {"resolved_at": NOW, "resolved_by": "pipeline", "resolution": "auto"}


def test_open_ones_are_acted_on_and_the_newest_is_reopened_if_a_person_closed_it(ops):
    ops.alert("T1", alert_id="old", occurrence=1, **BY_ANA)
    ops.alert("T1", alert_id="newest", occurrence=2, **BY_ANA)
    ops.alert("T2", alert_id="was by hand", occurrence=1, **BY_ANA)
    ops.alert("T2", alert_id="by itself", occurrence=2, **BY_ITSELF)
    ops.alert("T3", alert_id="closed", occurrence=1, **BY_ANA)
    ops.alert("T3", alert_id="open", occurrence=2)
    ops.alert("T4", alert_id="another type", alert_type="no_show", **BY_ANA)

    def chosen(tutor=None, alert_type="late", **options):
        return alert_ids_of(ops.database, tutor=tutor, alert_type=alert_type, **options)

    assert chosen() == ["open"]
    assert chosen(resolved_by_hand=True) == ["newest"]
    assert chosen("T3", resolved_by_hand=True) == []
    assert chosen("T4", None, resolved_by_hand=True) == ["another type"]
    assert chosen("T4", resolved_by_hand=True) == []


ABOUT = {"subject_kind": "student", "subject_id": "P1"}


def test_alerts_about_students_are_listed_and_acted_on_beside_those_about_tutors(ops):
    ops.alert("T1")
    ops.alert("T1", alert_id="T1 P1", **ABOUT)
    ops.alert("", alert_id="P1", **ABOUT)
    ops.alert("", alert_id="P2", **ABOUT | {"subject_id": "P2"})

    def listed(**options):
        return {row["alert_id"] for row in alerts(ops.database, **options)}

    assert listed() == {"T1 late", "T1 P1", "P1", "P2"}
    assert listed(student="P1") == {"T1 P1", "P1"}
    assert listed(tutor="T1") == {"T1 late", "T1 P1"}
    assert set(alert_ids_of(ops.database, tutor=None, alert_type="late")) == listed()
    assert set(alert_ids_of(ops.database, tutor="T1", alert_type=None)) == listed(tutor="T1")
    assert tutors_in_need(ops.database, NOW) == 1
    assert open_alert_types(ops.database) == {"T1": {"late"}}
    assert short_ids(ops.database).keys() == {"T1"}


def test_an_id_is_named_by_its_beginning(ops):
    ops.alert("T1", alert_id="3fa2")
    ops.alert("T2", alert_id="3fb1")
    assert alert_ids(ops.database, ["3fb", "3fa2", "3fb1"]) == ["3fb1", "3fa2"]
    with pytest.raises(UsageError) as refused:
        alert_ids(ops.database, ["3f", "3fa", "x"])
    more, none, _ = str(refused.value).splitlines()
    assert more == "2 alerts have an id that begins with '3f': 3fa2, 3fb1."
    assert none == "no alert has an id that begins with 'x'."


def test_alerts_are_listed_newest_first_then_the_worse(ops):
    ops.alert("T1", alert_id="old", severity="critical", triggered_date=NOW - DAY)
    ops.alert("T2", alert_id="warning")
    ops.alert("T3", alert_id="critical", severity="critical")
    ops.alert("T4", alert_id="closed", **BY_ANA)

    def ids(**options):
        return [row["alert_id"] for row in alerts(ops.database, **options)]

    assert ids() == ["critical", "warning", "old"]
    assert ids(severity="critical") == ["critical", "old"]
    assert ids(tutor="T4") == []
    assert ids(tutor="T4", include_resolved=True) == ["closed"]
