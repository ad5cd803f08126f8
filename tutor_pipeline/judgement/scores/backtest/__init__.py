"""The back-test: what scorers would have said on past days, compared with what happened then.

plan      questions, settings and time folds, and what a scorer is
scorers   the scorers that are tested
replay    asks the scorers about past days: `run`
result    the figures, as rows and as plain values

Belongs here: which rows count, what each scorer may learn from, the figures of every question.
Does not belong here: reading history, departures and truth; writing figures and the report.

A row of day D is used at the end of day D + settling, because feedback comes hours after a session.
There are two questions about tutors:

state      Is the tutor at risk on day D? Only a synthetic platform knows.
departure  Does the tutor leave for good by D + settling + `horizon` (no completed session after)?

There is one about students, `student_departure`: have they left by then, by the platform's date?
Rows of people who were silent for more than ASKED_SILENCE_DAYS are left out. A departure counts
only where its whole window lies within the known time. Learned scorers are fitted per time fold,
on rows whose outcomes were known before the fold's first day. A scorer gets the rows of one day at
a time, so no later day can reach it.
"""

from tutor_pipeline.judgement.scores.backtest.plan import (
    Fold,
    Outcome,
    Plan,
    Predict,
    Question,
    Scorer,
    Training,
    folds_of,
)
from tutor_pipeline.judgement.scores.backtest.replay import BASELINE, run
from tutor_pipeline.judgement.scores.backtest.result import Answer, LevelRate, Result, Tested
from tutor_pipeline.judgement.scores.backtest.scorers import (
    BOOSTING,
    CHALLENGER,
    boosting,
    forecasts,
    oracle,
    outcomes,
    plain,
)

__all__ = [
    "BASELINE",
    "BOOSTING",
    "CHALLENGER",
    "Answer",
    "Fold",
    "LevelRate",
    "Outcome",
    "Plan",
    "Predict",
    "Question",
    "Result",
    "Scorer",
    "Tested",
    "Training",
    "boosting",
    "folds_of",
    "forecasts",
    "oracle",
    "outcomes",
    "plain",
    "run",
]
