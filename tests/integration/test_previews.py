"""A preview says what then happens: exceptions of tutors, and other thresholds, on random data."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from math import inf

import pytest

from tests.integration.moved_sessions import tutors_reschedule
from tests.integration.refreshes import Refreshes
from tutor_pipeline.core.findings import Kind, Override
from tutor_pipeline.judgement.lifecycle import overrides
from tutor_pipeline.judgement.rules.catalogue import load_catalogue
from tutor_pipeline.judgement.rules.inputs import NUMERIC, Scale
from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.steps import preview


@pytest.fixture(scope="module", params=["adaptive", "conservative"])
def platform(request, new_project):
    project = new_project(TUTOR_RULE_PROFILE=request.param)
    project.run("generate", "--tutors", "60", "--days", "70", "--seed", "11")
    # Bookings come due while the tests run, and would count as changes.
    project.execute("delete from platform.sessions where status = 'scheduled'")
    project.execute(tutors_reschedule(8))
    project.profile = request.param
    return project


@pytest.fixture(scope="module")
def refreshes(platform, tmp_path_factory):
    refreshes = Refreshes(tmp_path_factory.mktemp("runs"), platform.environment)
    refreshes.run("daily_refresh")
    yield refreshes
    refreshes.stop()


@pytest.fixture
def catalogue(platform):
    return load_catalogue(platform.profile, wide_rows.rule_inputs(), thresholds())


def open_alerts(platform):
    return set(
        platform.query(
            "select tutor_id, alert_type from ops.alerts"
            " where resolved_at is null and subject_kind = 'tutor'"
        )
    )


def near(rng, condition, value):
    """A threshold near a tutor's own value, and sometimes far from it."""
    if value is None or rng.random() < 0.2:
        value = condition.value
    if condition.scale is Scale.COUNT:
        return max(1, int(value) + rng.choice([-2, -1, 0, 1, 2]))
    return round(float(value) + rng.choice([-0.5, -0.05, 0, 0.05, 0.5]), 3)


def test_exceptions_do_what_their_preview_says(platform, refreshes, catalogue):
    rng = random.Random(5)
    rules = [rule for rule in catalogue.of(Kind.ALERT) if rule.when[0].scale in NUMERIC]
    promised = {}
    with platform.warehouse.connect() as database:
        rows = wide_rows.read(database, "", catalogue.columns(Kind.ALERT)).rows
        before = open_alerts(platform)
        pairs = {*rng.sample([(row["tutor_id"], rule.id) for row in rows for rule in rules], 120)}
        pairs |= {pair for pair in before if pair[1] in {rule.id for rule in rules}}
        by_id, of = {rule.id: rule for rule in rules}, {row["tutor_id"]: row for row in rows}
        for tutor_id, rule_id in sorted(pairs):
            rule = by_id[rule_id]
            wanted = Override(tutor_id, rule_id, disabled=True)
            if rng.random() < 0.7:
                value = near(rng, rule.when[0], of[tutor_id][rule.when[0].metric])
                wanted = Override(tutor_id, rule_id, value)
            effect = preview.of_exception(database, catalogue, tutor_id, rule, wanted)
            promised[tutor_id, rule_id] = (wanted, effect)
        assert open_alerts(platform) == before, "a preview changes nothing"
        for wanted, _ in promised.values():
            overrides.put(
                database, Kind.ALERT, wanted, reason="test", by="ada", at=datetime.now(UTC)
            )
    refreshes.run()
    after = open_alerts(platform)
    for pair, (wanted, effect) in promised.items():
        expected = bool(effect.opens) or (pair in before and not effect.closes)
        assert (pair in after) == expected, (pair, wanted)
        assert bool(effect.closes) == (pair in before and pair not in after), pair
    assert any(effect.opens for _, effect in promised.values())
    assert any(effect.closes for _, effect in promised.values())
    assert after - before <= promised.keys(), "nobody else is concerned"

    # Taking one away is foretold, too.
    gone = sorted(promised)[::3]
    with platform.warehouse.connect() as database:
        foretold = {
            pair: preview.of_exception(database, catalogue, pair[0], by_id[pair[1]], None)
            for pair in gone
        }
        for tutor_id, rule_id in gone:
            assert overrides.remove(database, Kind.ALERT, tutor_id, rule_id, datetime.now(UTC))
    refreshes.run()
    then = open_alerts(platform)
    for pair, effect in foretold.items():
        assert (pair in then) == (bool(effect.opens) or (pair in after and not effect.closes))
    with platform.warehouse.connect() as database:
        database.execute("delete from ops.rule_overrides")


@pytest.mark.usefixtures("refreshes")
def test_a_threshold_that_is_tried_does_what_the_profile_then_does(
    platform, catalogue, tmp_path_factory
):
    """Against `rules check`, which a profile of one's own goes through, and then for real."""
    rng = random.Random(7)
    folder = tmp_path_factory.mktemp("profiles")
    rules = [rule for rule in catalogue.of(Kind.ALERT) if rule.when[0].scale in NUMERIC]
    tried = []
    for rule in rng.sample(rules, 5):
        value = near(rng, rule.when[0], None)
        with platform.warehouse.connect() as database:
            effect = preview.of_threshold(database, catalogue, rule, value)
        first, *rest = rule.when
        conditions = "\n".join(
            f"      - {{metric: {each.metric}, op: '{each.op}', value: {each.value},"
            f" minimum_exposure: {each.minimum_exposure}, minimum_share: {each.minimum_share}}}"
            for each in (type(first)(**{name: getattr(first, name) for name in
                                        first.__slots__} | {"value": value}), *rest)
        )  # fmt: skip
        text = f"extends: {platform.profile}\nalerts:\n  {rule.id}:\n    when:\n{conditions}\n"
        text = text.replace(", minimum_share: 0.0", "")
        path = folder / f"{rule.id}.yml"
        path.write_text(text, encoding="utf-8")
        report = platform.json("rules", "check", "--profile", str(path), "--against-data")
        (row,) = (
            row for row in report["effects"] if (row["kind"], row["rule"]) == ("alert", rule.id)
        )
        found = (len(effect.opens), effect.stays, len(effect.closes))
        assert found == (row["open"], row["keep"], row["resolve"]), (rule.id, value)
        tried.append((len(effect.opens) + len(effect.closes), rule, path, effect))
    _, rule, path, effect = max(tried, key=lambda each: each[0])
    before = {tutor for tutor, of in open_alerts(platform) if of == rule.id}
    platform.settings["TUTOR_RULE_PROFILE"] = str(path)
    try:
        platform.run("enrich", "--only", "alerts")
    finally:
        platform.settings["TUTOR_RULE_PROFILE"] = platform.profile
    after = {tutor for tutor, of in open_alerts(platform) if of == rule.id}
    assert after - before == {each.tutor_id for each in effect.opens}
    assert before - after == {each.tutor_id for each in effect.closes}


@pytest.mark.usefixtures("refreshes")
def test_thresholds_that_cannot_be_are_refused(catalogue):
    for rule in catalogue.of(Kind.ALERT):
        for value in (inf, -inf, float("nan")):
            assert rule.refusal(value)
        if rule.when[0].scale is Scale.COUNT:
            assert rule.refusal(2.5)
            assert rule.refusal(-1)
            assert rule.refusal(1e308)
            assert rule.refusal(4) is None
