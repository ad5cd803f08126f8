"""What is usual on a platform, and what few observations say in its light.

Belongs here: fitting the priors of signals_v2 (empirical Bayes), and the posterior of a tutor's
own level given them.
Does not belong here: thresholds and signals, storing versions.

A prior is a mean and a strength: it counts as much as that many sessions of the tutor's own. Both
come from a one-way analysis of variance over tutors, which fits a beta-binomial rate and a normal
mean alike: strength = variance within tutors ÷ variance between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from tutor_pipeline.scores.score import Row, number

READS = (
    "sessions_30d",
    "tutor_reschedules_30d",
    "no_show_tutor_30d",
    "avg_rating_30d",
    "avg_rating_30d_n",
    "rating_volatility_30d",
    "avg_engagement_7d",
    "avg_engagement_7d_n",
    "avg_engagement_30d",
    "avg_engagement_30d_n",
    "first_session_avg_rating_90d",
    "first_session_avg_rating_90d_n",
)
FEW_TUTORS = 10
"""With fewer tutors than this that have a value, the prior of `USUAL` stands."""
STRENGTH = (2.0, 200.0)
"""A prior counts at least and at most as many sessions. The most also where tutors don't differ."""
RARE = 0.001
"""A rate's prior mean stays this far from 0 and 1: what was never seen may still happen."""
SMALLEST_SD = 0.1
"""Of single observations: a platform whose ratings are all equal must not prove anything."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RatePrior:
    """Beta prior of a share of sessions: mean (between 0 and 1) and strength (sessions)."""

    mean: float
    strength: float

    def probability_above(self, events: Floats, sessions: Floats, threshold: float) -> Floats:
        """How likely each tutor's own rate is above the threshold, having seen these events."""
        from scipy.special import betaincc

        likely: Floats = betaincc(
            self.mean * self.strength + events,
            (1 - self.mean) * self.strength + sessions - events,
            threshold,
        )
        return likely.round(9)


@dataclass(frozen=True, slots=True)
class MeanPrior:
    """Normal prior of a tutor's mean: mean, strength (observations), and sd of one observation."""

    mean: float
    strength: float
    within_sd: float

    def probability_below(
        self, means: Floats, n: Floats, threshold: Floats | float, usual: Floats | float
    ) -> Floats:
        """How likely each tutor's own mean is below the threshold, having seen n observations.

        `usual` is what the mean is shrunk towards: the prior's mean, or the tutor's own of
        longer, when the question is a change.
        """
        from scipy.special import ndtr

        share = n / (n + self.strength)
        posterior = usual + share * (means - usual)
        sd = self.within_sd / np.sqrt(n + self.strength)
        likely: Floats = ndtr((threshold - posterior) / sd)
        return likely.round(9)


@dataclass(frozen=True, slots=True)
class Priors:
    """One version of what is usual: fitted from so many tutors, never changed."""

    version: int
    tutors: int
    reschedule_rate: RatePrior
    no_show_rate: RatePrior
    rating: MeanPrior
    engagement: MeanPrior
    first_rating: MeanPrior

    def to_json(self) -> dict[str, object]:
        """A JSON object that `from_json` reads back exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> Priors:
        """What `to_json` gave. Raises TypeError or KeyError for anything else."""
        kinds: dict[str, type[RatePrior | MeanPrior]] = {
            "reschedule_rate": RatePrior,
            "no_show_rate": RatePrior,
            "rating": MeanPrior,
            "engagement": MeanPrior,
            "first_rating": MeanPrior,
        }
        fields = {name: kind(**stored[name]) for name, kind in kinds.items()}  # type: ignore[arg-type]
        return cls(**{**stored, **fields})  # type: ignore[arg-type]


USUAL = Priors(
    version=0,
    tutors=0,
    reschedule_rate=RatePrior(0.10, 20.0),
    no_show_rate=RatePrior(0.02, 50.0),
    rating=MeanPrior(4.1, 3.0, 0.5),
    engagement=MeanPrior(6.3, 3.0, 1.4),
    first_rating=MeanPrior(3.8, 3.0, 0.5),
)
"""What tutoring platforms tell of themselves; stands in where a platform has too few tutors."""


def fit_priors(rows: Iterable[Row], version: int) -> Priors:
    """What is usual among these tutors; a row each, columns as in `READS`.

    The same whatever the order of the rows. What fewer than `FEW_TUTORS` have a value of is as in
    `USUAL`; where tutors don't differ beyond chance, the prior is as strong as it may be.
    """
    found = list(rows)
    rating_sd = _pooled_sd(found, USUAL.rating.within_sd)
    return Priors(
        version=version,
        tutors=len(found),
        reschedule_rate=_rate(found, "tutor_reschedules_30d", USUAL.reschedule_rate),
        no_show_rate=_rate(found, "no_show_tutor_30d", USUAL.no_show_rate),
        rating=_mean(found, "avg_rating_30d", rating_sd, USUAL.rating),
        engagement=_mean(
            found,
            "avg_engagement_30d",
            _sd_of_weeks(found, USUAL.engagement.within_sd),
            USUAL.engagement,
        ),
        # A first session's rating scatters as any other does.
        first_rating=_mean(found, "first_session_avg_rating_90d", rating_sd, USUAL.first_rating),
    )


def _observed(rows: Iterable[Row], value: str, exposure: str) -> list[tuple[float, float]]:
    pairs = ((number(row, value), number(row, exposure)) for row in rows)
    return [(seen, n) for seen, n in pairs if seen is not None and n is not None and n > 0]


def _rate(rows: list[Row], events: str, usual: RatePrior) -> RatePrior:
    shares = [(seen / n, n) for seen, n in _observed(rows, events, "sessions_30d")]
    freedom = math.fsum(n for _, n in shares) - len(shares)
    if len(shares) < FEW_TUTORS or freedom <= 0:
        return usual
    within = math.fsum(n * share * (1 - share) for share, n in shares) / freedom
    mean, strength = _analyse(shares, within)
    return RatePrior(min(max(mean, RARE), 1 - RARE), strength)


def _mean(rows: list[Row], value: str, within_sd: float, usual: MeanPrior) -> MeanPrior:
    means = _observed(rows, value, f"{value}_n")
    if len(means) < FEW_TUTORS:
        return usual
    mean, strength = _analyse(means, within_sd**2)
    return MeanPrior(mean, strength, within_sd)


def _analyse(means: list[tuple[float, float]], within: float) -> tuple[float, float]:
    """The mean over tutors and the prior's strength, from (mean, n) each and the variance within.

    Sums are exact (`fsum`), so that the order of the tutors decides nothing.
    """
    total = math.fsum(n for _, n in means)
    grand = math.fsum(n * mean for mean, n in means) / total
    between = math.fsum(n * (mean - grand) ** 2 for mean, n in means)
    typical_n = total - math.fsum(n * n for _, n in means) / total
    spread = (between - (len(means) - 1) * within) / typical_n
    weakest, strongest = STRENGTH
    strength = strongest if spread <= 0 else min(max(within / spread, weakest), strongest)
    # Each tutor counts by how well its mean is known, so that a busy one is not the platform.
    weights = [n / (n + strength) for _, n in means]
    weighted = math.fsum(w * mean for w, (mean, _) in zip(weights, means, strict=True))
    return round(weighted / math.fsum(weights), 9), round(strength, 9)


def _pooled_sd(rows: list[Row], usual: float) -> float:
    """The sd of one rating around its tutor's mean, from each tutor's own."""
    found = _observed(rows, "rating_volatility_30d", "avg_rating_30d_n")
    found = [(sd, n) for sd, n in found if n > 1]
    if len(found) < FEW_TUTORS:
        return usual
    squares = math.fsum((n - 1) * sd**2 for sd, n in found)
    return _sd(squares / math.fsum(n - 1 for _, n in found))


def _sd_of_weeks(rows: list[Row], usual: float) -> float:
    """The sd of one session's engagement, from how far a week's mean is from its month's."""
    squares = []
    for row in rows:
        week, month = number(row, "avg_engagement_7d"), number(row, "avg_engagement_30d")
        n, of = number(row, "avg_engagement_7d_n"), number(row, "avg_engagement_30d_n")
        if week is not None and month is not None and n and of and of > n:
            squares.append((week - month) ** 2 / (1 / n - 1 / of))
    if len(squares) < FEW_TUTORS:
        return usual
    return _sd(math.fsum(squares) / len(squares))


def _sd(variance: float) -> float:
    return round(max(math.sqrt(variance), SMALLEST_SD), 9)
