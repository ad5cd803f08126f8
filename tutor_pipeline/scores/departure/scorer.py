"""departure_v1: how likely each tutor is to leave within 30 days, how sure that is, and why.

Belongs here: scores with level, interval, what is not known, and reasons in words, from a version
and a reference. Does not belong here: how those come about. A tutor's score depends on nobody
else's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

import numpy as np

from tutor_pipeline.scores.departure.evidence import READS, Array, Columns, columns_of
from tutor_pipeline.scores.departure.reference import Reference, Standardised, standardise
from tutor_pipeline.scores.departure.signals import (
    CODES,
    GROUPS,
    LITTLE_KNOWN_UNDER,
    SIGNALS,
    Kind,
    default_weights,
)
from tutor_pipeline.scores.departure.version import (
    HORIZON_DAYS,
    SCORER,
    Version,
    contributions,
    interval,
    log_odds,
    probability,
)
from tutor_pipeline.scores.score import (
    Level,
    Reason,
    Row,
    Score,
    Status,
    Target,
    input_hash,
)

KEEPS = 0.8
"""A level is kept until the forecast is under so much of its cut-off: nobody flaps."""

_REASONS = 3
_OF_A_GROUP = 2
_WORTH_IT = 0.25  # of what the first reason adds
_PLAINLY_BAD = 1.0  # standard deviations from which a level is worth a reason
_PLAINLY_CHANGED = 0.3


def score(
    rows: Sequence[Row],
    reference: Reference,
    version: Version,
    named: str,
    held: Mapping[str, Level] | None = None,
) -> list[Score]:
    """Score rows (`evidence.READS`, tutor_id), in their order. `named` is the version's name;
    `held` the levels that tutors have, where they have one.

    Too little is known of a tutor to say Low: the status is `little_known`, and there is no level
    unless it is Medium or High. Of a tutor of whom nothing is known there is no score.
    """
    if not rows:
        return []
    return score_columns(
        [str(row["tutor_id"]) for row in rows],
        columns_of(rows),
        reference,
        version,
        named,
        held,
    )


def score_columns(
    tutors: Sequence[str],
    columns: Columns,
    reference: Reference,
    version: Version,
    named: str,
    held: Mapping[str, Level] | None = None,
) -> list[Score]:
    """What `score` does, of columns."""
    held = held or {}
    seen = standardise(columns, reference)
    odds = log_odds(version, seen.z)
    forecasts = probability(odds)
    lower, upper = interval(version, seen.z, odds)
    shares = _known_share(seen)
    added = np.round(contributions(version, seen.z), 6)
    unknown = _not_known(seen)
    raw = np.column_stack([columns[name] for name in READS]).round(9) + 0.0
    scores = []
    for place, tutor in enumerate(tutors):
        inputs = [None if isnan(value) else value for value in raw[place].tolist()]
        forecast = float(forecasts[place])
        level: Level | None = level_of(forecast, version, held.get(tutor))
        # Where the held level decides nothing, it is no input: the next run holds this one's.
        kept = level if level is not level_of(forecast, version, None) else None
        made_from = input_hash(
            SCORER, named, {**dict(zip(READS, inputs, strict=True)), "held": kept}
        )
        if not seen.known[place].any():
            scores.append(_nothing_known(tutor, named, made_from, unknown[place]))
            continue
        is_little = shares[place] < LITTLE_KNOWN_UNDER
        if is_little and level is Level.LOW:
            level = None
        scores.append(
            Score(
                subject_id=tutor,
                scorer=SCORER,
                version=named,
                target=Target.TUTOR_DEPARTURE,
                horizon_days=HORIZON_DAYS,
                score=forecast,
                is_probability=version.is_probability,
                level=level,
                reasons=_reasons(place, added[place], seen, reference),
                status=Status.LITTLE_KNOWN if is_little else Status.OK,
                input_hash=made_from,
                lower=float(lower[place]),
                upper=float(upper[place]),
                base_rate=version.base_rate,
                known_share=float(shares[place]),
                not_known=unknown[place],
            )
        )
    return scores


def level_of(forecast: float, version: Version, held: Level | None) -> Level:
    """The level of a forecast, for a tutor who has had the level `held`."""
    if forecast > version.high_above or (
        held is Level.HIGH and forecast >= KEEPS * version.high_above
    ):
        return Level.HIGH
    kept = held in (Level.HIGH, Level.MEDIUM) and forecast >= KEEPS * version.medium_above
    return Level.MEDIUM if forecast > version.medium_above or kept else Level.LOW


def _known_share(seen: Standardised) -> Array:
    """The share of all documented weight that is known of each tutor."""
    weights = default_weights()
    known = np.zeros(len(seen.z))
    for place, code in enumerate(CODES):
        known = known + weights[code] * seen.known[:, place]
    return np.asarray(np.round(known / sum(weights.values()), 4))


def _not_known(seen: Standardised) -> list[tuple[str, ...]]:
    """What is not known of each tutor, in words: a group where none of its signs is, else the
    signs.
    """
    places: dict[str, list[int]] = {}
    for place, code in enumerate(CODES):
        places.setdefault(SIGNALS[code].group, []).append(place)
    cache: dict[bytes, tuple[str, ...]] = {}
    found = []
    for known in seen.known:
        key = known.tobytes()
        if key not in cache:
            words: list[str] = []
            for group, members in places.items():
                missing = [place for place in members if not known[place]]
                if len(missing) == len(members):
                    words.append(GROUPS[group].name)
                else:
                    words += [SIGNALS[CODES[place]].short for place in missing]
            cache[key] = tuple(words)
        found.append(cache[key])
    return found


def _reasons(
    row: int, added: Array, seen: Standardised, reference: Reference
) -> tuple[Reason, ...]:
    """What raises the forecast: changes before levels, the largest first; of a group two at most,
    of a family one, a level only where it is plainly bad.
    """
    candidates = sorted(
        (
            (SIGNALS[code].kind is Kind.LEVEL, -float(added[place]), code)
            for place, code in enumerate(CODES)
            if added[place] > 0
            and seen.z[row, place]
            >= (_PLAINLY_BAD if SIGNALS[code].kind is Kind.LEVEL else _PLAINLY_CHANGED)
        ),
    )
    groups: dict[str, int] = {}
    families: set[str] = set()
    found: list[Reason] = []
    for _, less, code in candidates:
        signal = SIGNALS[code]
        if groups.get(signal.group, 0) >= _OF_A_GROUP or signal.family in families:
            continue
        reason = _reason(row, code, -less, seen, reference)
        if reason is None:
            continue
        if found and -less < _WORTH_IT * found[0].contribution:
            continue
        groups[signal.group] = groups.get(signal.group, 0) + 1
        families.add(signal.family)
        found.append(reason)
        if len(found) == _REASONS:
            break
    if found:
        return tuple(found)
    # Nothing stands out, and a level above Low still says what it comes of: the strongest there is.
    strongest = int(np.argmax(added))
    if added[strongest] > 0:
        reason = _reason(row, CODES[strongest], float(added[strongest]), seen, reference)
        return () if reason is None else (reason,)
    return ()


def _reason(
    row: int, code: str, contribution: float, seen: Standardised, reference: Reference
) -> Reason | None:
    found = seen.measured[code]
    now, usual, n, n_usual = (
        float(each[row]) for each in (found.now, found.usual, found.n, found.n_usual)
    )
    if isnan(usual):
        usual = reference.yardsticks[code].typical
    if isnan(now):
        return None
    return Reason(
        code=code,
        label=SIGNALS[code].words(
            now=now, usual=usual, n=n, n_usual=n_usual, k=now * n, k_usual=usual * n_usual
        ),
        value=round(now, 6),
        reference=round(usual, 6),
        n=None if isnan(n) else int(n),
        contribution=round(contribution, 6),
    )


def _nothing_known(tutor: str, named: str, made_from: str, unknown: tuple[str, ...]) -> Score:
    return Score(
        subject_id=tutor,
        scorer=SCORER,
        version=named,
        target=Target.TUTOR_DEPARTURE,
        horizon_days=HORIZON_DAYS,
        score=None,
        is_probability=False,
        level=None,
        reasons=(),
        status=Status.INSUFFICIENT_DATA,
        input_hash=made_from,
        known_share=0.0,
        not_known=unknown,
    )
