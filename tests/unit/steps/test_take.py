"""As of when a refresh is."""

from datetime import UTC, datetime

import pytest

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.steps import take

IN_TOKYO_IT_IS_MORNING = datetime(2026, 3, 17, 22, tzinfo=UTC)


@pytest.fixture
def in_tokyo(warehouse, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return IN_TOKYO_IT_IS_MORNING

    monkeypatch.setattr(take, "datetime", Clock)
    return Warehouse(warehouse.url, timezone="Asia/Tokyo")


def test_today_is_that_of_the_pipelines_zone_and_ends_now(in_tokyo):
    assert take.resolve_as_of(in_tokyo, "2026-03-18") == IN_TOKYO_IT_IS_MORNING
    with pytest.raises(RefusedError, match="as of 2026-03-19 lies in the future"):
        take.resolve_as_of(in_tokyo, "2026-03-19")


def test_a_day_of_the_past_ends_at_its_midnight(in_tokyo):
    ended = datetime(2026, 3, 16, 14, 59, 59, 999_999, tzinfo=UTC)
    assert take.resolve_as_of(in_tokyo, "2026-03-16") == ended


def test_without_a_day_it_is_now(in_tokyo):
    assert take.resolve_as_of(in_tokyo, None) == IN_TOKYO_IT_IS_MORNING
    assert take.resolve_as_of(in_tokyo, take.LAST) == IN_TOKYO_IT_IS_MORNING
    assert take.resolve_as_of(in_tokyo, take.LATEST) == IN_TOKYO_IT_IS_MORNING
