"""What a forecast of departures is: who is asked about, and by which signs.

Belongs here: the questionnaire that everything else in this package is given. Its two instances
are `tutors.TUTORS` and `students.STUDENTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tutor_pipeline.judgement.scores.departure.measures import Array, Columns, Measured
from tutor_pipeline.judgement.scores.departure.signals import Signals
from tutor_pipeline.judgement.scores.score import Target

HORIZON_DAYS = 30
ASKED_SILENCE_DAYS = 45
"""Somebody is asked about while the last completed session lies at most so many days back; as the
dbt var asked_silence_days says.
"""


@dataclass(frozen=True, eq=False)
class Forecast:
    """One forecast. `who`: whom it is about, in the singular (`tutor`). `evidence`: the table of
    marts with a row for each of them now; the same of past weeks is in `<evidence>_history`.
    `reads`: the columns of both that are read, beside the id.

    `usual_of` finds what signs need to know of the platform, `usual_from` reads it back from what
    its `to_json` gave; `measure` gives every sign of `signals` by its code. `silence` says how long
    no session was completed, in units of what is usual: above 1, who is asked about may have left
    already.

    `high_share`: at most so high a share of the rows learned from is High. `rate_setting`:
    the setting of the share that leaves within a year.
    """

    scorer: str
    target: Target
    who: str
    evidence: str
    signals: Signals
    reads: tuple[str, ...]
    usual_of: Callable[[Columns], Any]
    usual_from: Callable[[Mapping[str, Any]], Any]
    measure: Callable[[Columns, Any], dict[str, Measured]]
    silence: Callable[[Columns], Array]
    high_share: float
    rate_setting: str

    @property
    def key(self) -> str:
        """The column that names one."""
        return f"{self.who}_id"

    @property
    def history(self) -> str:
        """The table of marts with the evidence of past weeks."""
        return f"{self.evidence}_history"

    @property
    def codes(self) -> tuple[str, ...]:
        """The signs, in the order in which matrices hold them."""
        return self.signals.codes

    @property
    def priors(self) -> str:
        """The scorer with nothing learned, as back-tests name it."""
        return f"{self.scorer}_priors"


def asked(columns: Columns) -> dict[str, Array]:
    """The columns of those who are asked about: who has long been silent is not usual."""
    still = columns["days_since_completed"] <= ASKED_SILENCE_DAYS
    return {name: column[still] for name, column in columns.items()}
