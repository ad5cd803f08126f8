"""What a forecast of departures is: whom it is about, and by which signs.

Belongs here: the description that the rest of this package works with. There are two:
`tutors.TUTORS` and `students.STUDENTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tutor_pipeline.judgement.scores.departure.measures import Array, Columns, Measured
from tutor_pipeline.judgement.scores.departure.signs import Signs
from tutor_pipeline.judgement.scores.score import Target
from tutor_pipeline.metrics.thresholds import thresholds

HORIZON_DAYS = 30
ASKED_SILENCE_DAYS = thresholds()["asked_silence_days"]
"""A row is asked about while the last completed session lies at most so many days back."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """One forecast. `who`: whom it is about (`tutor`, `student`). `evidence`: the table of marts
    with a row per person now; `<evidence>_history` has past weeks. `reads`: the columns of both
    that are read, besides the id.

    `usual_of` returns what signs need to know of the platform, `usual_from` reads it back from its
    JSON. `measure` returns every sign of `signs` by code. `silence` returns the time without a
    completed session in units of what is usual: above 1, somebody may have left already.

    `high_share`: the share of the rows learned from that is High, at most. `rate_setting`: the name
    of the setting with the share that leaves within a year.
    """

    scorer: str
    target: Target
    who: str
    evidence: str
    signs: Signs
    reads: tuple[str, ...]
    usual_of: Callable[[Columns], Any]
    usual_from: Callable[[Mapping[str, Any]], Any]
    measure: Callable[[Columns, Any], dict[str, Measured]]
    silence: Callable[[Columns], Array]
    high_share: float
    rate_setting: str

    @property
    def key(self) -> str:
        """The name of the id column."""
        return f"{self.who}_id"

    @property
    def history(self) -> str:
        """The table of marts with the evidence of past weeks."""
        return f"{self.evidence}_history"

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the signs, in the order in which matrices hold them."""
        return self.signs.codes

    @property
    def priors(self) -> str:
        """The name of the scorer with nothing learned, in back-tests."""
        return f"{self.scorer}_priors"


def asked(columns: Columns) -> dict[str, Array]:
    """Returns the columns of those who are asked about. Long silence is not usual."""
    still = columns["days_since_completed"] <= ASKED_SILENCE_DAYS
    return {name: column[still] for name, column in columns.items()}
