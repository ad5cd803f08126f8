"""What the rows that rules read say in words."""

from __future__ import annotations

import pytest

from tutor_pipeline.core.formatting import likelihood
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.metrics.wide_rows import _percent

SHARES = (0, 0.0004, 0.0005, 0.004, 0.0994, 0.0995, 0.1, 0.344, 0.994, 0.995, 0.9999, 1)


@pytest.mark.parametrize("share", SHARES)
def test_a_probability_is_written_as_everywhere(warehouse: Warehouse, share: float) -> None:
    with warehouse.connect() as database:
        said = database.value(
            f"select {_percent('share')} from (select %(share)s::float8 as share) as tutor_risk",
            {"share": share},
        )
    assert said == likelihood(share)
