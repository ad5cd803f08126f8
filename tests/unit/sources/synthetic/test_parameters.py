"""Parameters: what is refused, and what the presets are."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.sources.synthetic import Parameters

END = date(2026, 11, 19)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tutors": 0}, "--tutors is 0, but it must be between 1 and"),
        ({"days": -3}, "--days is -3"),
        ({"sessions_per_day": 0}, "--sessions-per-day is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"end": date(1900, 1, 1)}, "--end is 1900-01-01"),
    ],
)
def test_impossible_values_are_refused_with_a_sentence(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Parameters(**({"end": END} | wrong))


def test_presets() -> None:
    assert Parameters.preset("production", END) == Parameters(
        end=END, tutors=150, days=30, sessions_per_day=750
    )
    dev = Parameters.preset("dev", END, seed=3)
    assert (dev.tutors, dev.days, dev.seed) == (25, 14, 3)


def test_unknown_presets_and_parameters_are_refused() -> None:
    with pytest.raises(UsageError, match="--mode is 'huge', but it must be one of dev, production"):
        Parameters.preset("huge", END)
    with pytest.raises(UsageError, match="Unknown parameter: colour"):
        Parameters.preset("dev", END, colour="red")
