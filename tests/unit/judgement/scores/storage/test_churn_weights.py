"""The weights of the student churn score: seeded once, whole, never changed."""

import threading
from datetime import UTC, datetime

import psycopg
import pytest

from tutor_pipeline.judgement.scores.storage.churn_weights import current, seed

AT = datetime(2026, 3, 1, tzinfo=UTC)
LATER = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _empty(warehouse):
    yield
    with warehouse.connect() as database:
        database.execute("truncate {ops}.churn_algorithm_weights, {ops}.churn_weight_levels")


def insert(database, version, **weights):
    for factor, weight in weights.items():
        database.execute(
            "insert into {ops}.churn_algorithm_weights values (%s, %s, %s, %s, 'by hand')",
            (version, factor, weight, LATER),
        )


def test_the_first_version(warehouse):
    with warehouse.connect() as database:
        assert current(database) is None
        assert seed(database, AT) is True
    with warehouse.connect() as database:
        first = current(database)
        assert (first.version, first.effective_from) == (1, AT)
        assert list(first.weights.items()) == [
            ("first_session_satisfaction", 0.25),
            ("avg_session_score", 0.20),
            ("engagement_trend", 0.15),
            ("sessions_completed", 0.15),
            ("scheduling_issues", 0.10),
            ("tutor_consistency", 0.10),
            ("price_sensitivity", 0.05),
        ]
        assert seed(database, LATER) is False
        assert current(database) == first


def test_a_later_version_is_kept_and_is_the_current_one(warehouse):
    with warehouse.connect() as database:
        insert(database, 2, one=0.75, other=0.25)
    with warehouse.connect() as database:
        assert seed(database, AT) is False
        assert current(database).weights == {"one": 0.75, "other": 0.25}


@pytest.mark.parametrize("weights", [{"one": 0.5}, {"one": 0.5, "two": 0.5001}, {"one": 1.5}])
def test_a_version_that_does_not_add_up_is_refused(warehouse, weights):
    with pytest.raises(psycopg.Error), warehouse.connect() as database:
        insert(database, 2, **weights)
    with warehouse.connect() as database:
        assert current(database) is None


def test_a_version_is_never_changed(warehouse):
    with warehouse.connect() as database:
        seed(database, AT)
    with pytest.raises(psycopg.Error, match="version"), warehouse.connect() as database:
        database.execute("update {ops}.churn_algorithm_weights set weight = weight * 1")


def test_eight_that_seed_at_once_write_one_version(warehouse):
    barrier = threading.Barrier(8)
    wrote = []

    def one():
        with warehouse.connect() as database:
            barrier.wait()
            wrote.append(seed(database, AT))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wrote) == [False] * 7 + [True]
