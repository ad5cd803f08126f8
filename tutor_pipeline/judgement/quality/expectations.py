"""Our own expectations for Great Expectations. Only `run` imports this module."""

from __future__ import annotations

from typing import Any, ClassVar

from great_expectations.expectations.core.unexpected_rows_expectation import (
    UnexpectedRowsExpectation,
)


class ExpectQueryToReturnNoRows(UnexpectedRowsExpectation):
    """The query returns no rows. PostgreSQL counts them; they are not fetched."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.row_count",)

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        count = metrics["unexpected_rows_query.row_count"]
        return {"success": count == 0, "result": {"unexpected_count": count}}


class ExpectQueryValueToBeBetween(UnexpectedRowsExpectation):
    """The query's column `observed` lies between two values; NULL does not. No row = not judged."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.table",)

    min_value: float | None = None
    max_value: float | None = None
    strict_min: bool = False
    strict_max: bool = False

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        rows = metrics["unexpected_rows_query.table"]
        values = [row["observed"] for row in rows]
        return {
            "success": all(self._lies_between(value) for value in values),
            "result": {"observed_value": values[0] if values else None, "judged": bool(values)},
        }

    def _lies_between(self, value: Any) -> bool:
        if value is None:
            return False
        number = float(value)  # Decimal("0.3") is not the float 0.3; NaN compares false
        above = self.min_value is None or (
            number > self.min_value if self.strict_min else number >= self.min_value
        )
        below = self.max_value is None or (
            number < self.max_value if self.strict_max else number <= self.max_value
        )
        return above and below
