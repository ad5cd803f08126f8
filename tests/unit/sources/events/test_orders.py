"""Whole lives of a platform: what is left of them does not depend on the order of arrival."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.unit.sources.events.lives import (
    apply_somehow,
    clear,
    in_peace,
    life,
    outcomes,
    platform,
)
from tutor_pipeline.core.warehouse.database import Warehouse


def come_out_the_same(warehouse: Warehouse, seed: int) -> None:
    """In four orders, each cut into other batches, some events twice."""
    chance = random.Random(seed)
    sessions = chance.choice([3, 10])
    events = list(itertools.islice(life(chance, tutors=3, sessions=sessions), 120))
    clear(warehouse)
    in_peace(warehouse, events)
    expected = platform(warehouse), outcomes(warehouse)
    for _ in range(3):
        clear(warehouse)
        apply_somehow(warehouse, [*events, *chance.sample(events, 20)], chance)
        assert platform(warehouse) == expected[0], f"seed {seed}"
        assert outcomes(warehouse) == expected[1], f"seed {seed}"


def test_lives_in_any_order(platform_warehouse: Warehouse) -> None:
    for _ in range(6):
        come_out_the_same(platform_warehouse, random.SystemRandom().randrange(10**6))


@pytest.mark.long
@pytest.mark.parametrize("tens", range(10))
def test_many_lives_in_any_order(platform_warehouse: Warehouse, tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        come_out_the_same(platform_warehouse, seed)
