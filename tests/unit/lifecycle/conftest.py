"""Findings and evaluations made by hand."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from tutor_pipeline.domain import Evaluation, Finding, Kind, Reading, Severity

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def day(number):
    """The moment of the n-th run."""
    return START + timedelta(days=number)


def finding(tutor_id="T1", rule_id="no_show", severity="critical", evidence=("S1",), **changes):
    values = {
        "texts": {"title": rule_id, "description": f"{rule_id}!", "recommended_action": "Call"},
        "readings": (Reading("no_shows", 3, 3, 20),),
        "excess": 0.5,
        "rule_version": "v1",
    }
    return Finding(
        tutor_id, rule_id, Severity(severity), evidence=tuple(evidence), **values | changes
    )


def evaluation(*findings, at=0, evaluated=None, rules=("no_show", "late"), **changes):
    """By default every tutor found was evaluated for every rule."""
    if evaluated is None:
        evaluated = {rule: {each.tutor_id for each in findings} for rule in rules}
    values = {"profile": "conservative", "auto_resolve": True, "tutors": len(findings)}
    return Evaluation(
        Kind.ALERT,
        day(at),
        findings=findings,
        evaluated={rule: frozenset(tutors) for rule, tutors in evaluated.items()},
        **values | changes,
    )


@pytest.fixture(scope="session")
def make():
    return SimpleNamespace(day=day, finding=finding, evaluation=evaluation)
