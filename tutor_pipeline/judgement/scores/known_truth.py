"""How well departure_v1 does on platforms whose truth is known, without learning and after it.

Belongs here: which days are judged, the figures of one platform and of several.
Does not belong here: making platforms, reading them (`cli.scores_judge`).

Judges the weekly days of the last quarter, once with nothing learned and once after learning from
26 earlier weekly days. The ceiling is a model that learned from the truth of those weeks, with the
same signs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores.departure.challenger import departures_alone
from tutor_pipeline.judgement.scores.departure.learning import Outcomes, learn, nothing
from tutor_pipeline.judgement.scores.departure.outcomes import Standard, gather, leaves, matured
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.departure.version import Version, log_odds, probability
from tutor_pipeline.judgement.scores.evaluation import Array, Sample, calibration_slope
from tutor_pipeline.judgement.scores.threads import one_thread

DAYS = 400
"""The length of a judged platform, in days."""

LEARN = (91, 272)
KNOWN_UNTIL = 302
JUDGE = 303
DEPARTURES_UNTIL = 370
"""Days from the start: those learned from, the last with known departures, the first judged, and
the last judged by departures.
"""

LIST = 8
FALSE_FLAGS = 0.15
_FEWEST_AT_RISK = 5


@dataclass(frozen=True)
class Platform:
    """A platform whose truth is known: the evidence of its weeks, who was at risk (by tutor and
    day), the day after the last session of those who left, and the first day.
    """

    weeks: Sequence[Standard]
    at_risk: Mapping[tuple[str, date], bool]
    departures: Mapping[str, date]
    started_on: date


@dataclass(frozen=True)
class Judged:
    """The scores of a platform. `state` and `departure` hold arrays with an entry per row: `day`,
    `happened`, the scores `priors`, `learned`, `ceiling` (state) and `alone` (departure), whether
    the level was High (`high_priors`, `high_learned`), and the learned probability `chance`.
    """

    tutors: int
    departures: int
    state: Mapping[str, Array]
    departure: Mapping[str, Array]


def judge(platform: Platform, yearly_rate: float) -> Judged:
    """Returns the scores of the judged days of a platform. Raises ValueError where it has none."""
    learned_from = _between(platform, *LEARN)
    judged = _between(platform, JUDGE, DAYS)
    if not learned_from or not judged:
        raise ValueError("the platform has no weeks to learn from, or none to judge")
    first = judged[0]
    priors = learn(
        TUTORS, first.z[first.is_there], first.reference.known, nothing(TUTORS), yearly_rate
    )
    known_on = platform.started_on + timedelta(days=KNOWN_UNTIL)
    outcomes = gather(TUTORS, matured(learned_from, platform.departures, known_on), known_on)
    signs = learned_from[-1].reference.known
    learned = learn(TUTORS, outcomes.z, signs, outcomes, yearly_rate)
    alone = departures_alone(outcomes)
    ceiling = departures_alone(_truth(platform, learned_from))
    state: dict[str, list[Array]] = {}
    departure: dict[str, list[Array]] = {}
    for week in judged:
        age = (week.day - platform.started_on).days
        said = {
            "day": np.full(len(week.ids), age, dtype=np.int32),
            **_said(week, priors, learned),
        }
        at_risk = [platform.at_risk.get((tutor, week.day)) for tutor in week.ids]
        known = np.array([each is not None for each in at_risk])
        best = np.full(len(known), np.nan) if ceiling is None else ceiling(week.z)
        _add(
            state,
            {**said, "ceiling": best, "happened": np.array([bool(each) for each in at_risk])},
            known,
        )
        if age <= DEPARTURES_UNTIL:
            left = [leaves(week.day, platform.departures.get(tutor)) for tutor in week.ids]
            other = np.full(len(left), np.nan) if alone is None else alone(week.z)
            _add(departure, {**said, "alone": other, "happened": np.array(left)}, None)
    return Judged(
        tutors=max(len(week.ids) for week in judged),
        departures=outcomes.departures,
        state={name: np.concatenate(parts) for name, parts in state.items()},
        departure={name: np.concatenate(parts) for name, parts in departure.items()},
    )


def figures(judged: Iterable[Judged]) -> dict[str, float | None]:
    """Returns the figures of some platforms over all their rows. The threshold for those found is
    each platform's own.
    """
    found = list(judged)
    state, departure = (
        {
            name: np.concatenate([getattr(each, part)[name] for each in found])
            for name in getattr(found[0], part)
        }
        for part in ("state", "departure")
    )
    happened = state["happened"].astype(bool)
    result: dict[str, float | None] = {
        "rows": float(len(happened)),
        "at_risk": float(happened.sum()),
        "departures": float(sum(each.departures for each in found)),
    }
    for name in ("priors", "learned", "ceiling"):
        result[f"found_{name}"] = _found(found, name)
    for name in ("priors", "learned"):
        high = state[f"high_{name}"].astype(bool)
        result[f"ratio_{name}"] = _ratio(result[f"found_{name}"], result["found_ceiling"])
        result[f"first_{name}"] = _mean(first_right(each, name) for each in found)
        result[f"auc_{name}"] = auc(state[name], happened)
        result[f"high_{name}"] = float(high.sum())
        result[f"high_right_{name}"] = float((high & happened).sum())
    left = departure["happened"].astype(bool)
    result["departure_auc"] = auc(departure["learned"], left)
    result["departure_auc_alone"] = auc(departure["alone"], left)
    result["calibration_slope"] = _slope(found)
    return result


def hits_at(scores: Array, happened: Array, false_flags: float = FALSE_FLAGS) -> int | None:
    """Returns how many positives are above the threshold that so many of the negatives exceed. None
    where a score is missing, or where there are no negatives.
    """
    others = np.sort(scores[~happened])[::-1]
    if not len(others) or np.isnan(scores).any():
        return None
    threshold = others[min(int(false_flags * len(others)), len(others) - 1)]
    return int((scores[happened] > threshold).sum())


def _found(judged: Sequence[Judged], name: str) -> float | None:
    """Returns the share of those at risk that is found; None where there are too few."""
    hits = at_risk = 0
    for each in judged:
        happened = each.state["happened"].astype(bool)
        found = hits_at(each.state[name], happened)
        if found is not None:
            hits += found
            at_risk += int(happened.sum())
    return hits / at_risk if at_risk >= _FEWEST_AT_RISK else None


def first_right(judged: Judged, name: str) -> float | None:
    """Returns the hits among a day's first eight ÷ the possible hits, as the mean over the days."""
    days, happened = judged.state["day"], judged.state["happened"].astype(bool)
    shares = []
    for day in np.unique(days):
        of_day = days == day
        possible = min(LIST, int(happened[of_day].sum()))
        if possible:
            first = np.argsort(-judged.state[name][of_day], kind="stable")[:LIST]
            shares.append(float(happened[of_day][first].sum()) / possible)
    return float(np.mean(shares)) if shares else None


def auc(scores: Array, happened: Array) -> float | None:
    """Returns the AUC; None where a score is missing, or where there is one class only."""
    from sklearn.metrics import roc_auc_score

    if not happened.any() or happened.all() or np.isnan(scores).any():
        return None
    return float(roc_auc_score(happened, scores))


def _between(platform: Platform, first: int, last: int) -> list[Standard]:
    return [
        week for week in platform.weeks if first <= (week.day - platform.started_on).days <= last
    ]


def _said(week: Standard, priors: Version, learned: Version) -> dict[str, Array]:
    said: dict[str, Array] = {}
    for name, version in (("priors", priors), ("learned", learned)):
        odds = log_odds(version, week.z)
        said[name] = odds
        said[f"high_{name}"] = probability(odds) > version.high_above
        if name == "learned":
            said["chance"] = probability(odds)
    return said


def _truth(platform: Platform, weeks: Iterable[Standard]) -> Outcomes:
    """Returns the truth in the place of departures."""
    z, state = [], []
    for week in weeks:
        for place, tutor in enumerate(week.ids):
            at_risk = platform.at_risk.get((tutor, week.day))
            if at_risk is not None:
                z.append(week.z[place])
                state.append(at_risk)
    return Outcomes(np.array(z), np.array(state, dtype=bool), np.arange(len(z)))


def _add(parts: dict[str, list[Array]], arrays: Mapping[str, Array], rows: Any) -> None:
    for name, values in arrays.items():
        parts.setdefault(name, []).append(values if rows is None else values[rows])


def _slope(found: Sequence[Judged]) -> float | None:
    chance = np.concatenate([each.departure["chance"] for each in found])
    left = np.concatenate([each.departure["happened"] for each in found]).astype(bool)
    sample = Sample(np.arange(len(left)), np.zeros(len(left), dtype=np.int64), left)
    with one_thread():
        return calibration_slope(sample, chance, replicates=1).value


def _ratio(value: float | None, to: float | None) -> float | None:
    return None if value is None or not to else value / to


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
