"""How likely each tutor or student is to leave within 30 days, how sure that is, and why.

Belongs here: scores from a version and a reference: level, interval, what is not known, reasons.
Does not belong here: how a version or a reference is made (`learning`, `reference`).

No score depends on another row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

import numpy as np

from tutor_pipeline.judgement.scores.departure.forecast import HORIZON_DAYS, Forecast
from tutor_pipeline.judgement.scores.departure.measures import Array, Columns, columns_of
from tutor_pipeline.judgement.scores.departure.reference import Reference, Standardised, standardise
from tutor_pipeline.judgement.scores.departure.signs import Kind, Signs
from tutor_pipeline.judgement.scores.departure.version import (
    Version,
    contributions,
    interval,
    log_odds,
    probability,
)
from tutor_pipeline.judgement.scores.score import (
    Level,
    Reason,
    Row,
    Score,
    Status,
    input_hash,
)

KEEPS = 0.8
"""A level is kept until the forecast is below this share of its cut-off, so that levels do not
flap.
"""

_REASONS = 3
_OF_A_GROUP = 2
_WORTH_IT = 0.25  # of what the first reason adds
_PLAINLY_BAD = 1.0  # standard deviations from which a level is a reason
_PLAINLY_CHANGED = 0.3  # the same for a change


def score(
    rows: Sequence[Row],
    reference: Reference,
    version: Version,
    named: str,
    held: Mapping[str, Level] | None = None,
) -> list[Score]:
    """Returns a score per row (the id and the columns that the forecast reads), in order. `named`
    is the name of version and reference together, `held` the current levels by id.

    Where too little is known to say Low the status is `little_known`, with a level only if it is
    Medium or High. Where nothing is known there is no score (`insufficient_data`).
    """
    if not rows:
        return []
    return score_columns(
        [str(row[version.forecast.key]) for row in rows],
        columns_of(rows, version.forecast.reads),
        reference,
        version,
        named,
        held,
    )


def score_columns(
    ids: Sequence[str],
    columns: Columns,
    reference: Reference,
    version: Version,
    named: str,
    held: Mapping[str, Level] | None = None,
) -> list[Score]:
    """Returns the same as `score`, from columns."""
    held = held or {}
    forecast, signs = version.forecast, version.forecast.signs
    seen = standardise(columns, reference)
    odds = log_odds(version, seen.z)
    chances = probability(odds)
    lower, upper = interval(version, seen.z, odds)
    shares = _known_share(signs, seen)
    added = np.round(contributions(version, seen.z), 6)
    unknown = _not_known(signs, seen)
    raw = np.column_stack([columns[name] for name in forecast.reads]).round(9) + 0.0
    scores = []
    for place, subject in enumerate(ids):
        inputs = [None if isnan(value) else value for value in raw[place].tolist()]
        chance = float(chances[place])
        level: Level | None = level_of(chance, version, held.get(subject))
        # The held level is an input only where it decides: else the next run, which holds this
        # run's level, would have another hash for the same score.
        kept = level if level is not level_of(chance, version, None) else None
        made_from = input_hash(
            forecast.scorer,
            named,
            {**dict(zip(forecast.reads, inputs, strict=True)), "held": kept},
        )
        if not seen.known[place].any():
            scores.append(_nothing_known(forecast, subject, named, made_from, unknown[place]))
            continue
        is_little = shares[place] < signs.little_known_under
        if is_little and level is Level.LOW:
            level = None
        scores.append(
            Score(
                subject_id=subject,
                scorer=forecast.scorer,
                version=named,
                target=forecast.target,
                horizon_days=HORIZON_DAYS,
                score=chance,
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


def level_of(chance: float, version: Version, held: Level | None) -> Level:
    """Returns the level of a forecast, for somebody whose level was `held`."""
    if chance > version.high_above or (held is Level.HIGH and chance >= KEEPS * version.high_above):
        return Level.HIGH
    kept = held in (Level.HIGH, Level.MEDIUM) and chance >= KEEPS * version.medium_above
    return Level.MEDIUM if chance > version.medium_above or kept else Level.LOW


def _known_share(signs: Signs, seen: Standardised) -> Array:
    """Returns the share of the documented weight that is known, per row."""
    weights = signs.default_weights()
    known = np.zeros(len(seen.z))
    for place, code in enumerate(signs.codes):
        known = known + weights[code] * seen.known[:, place]
    return np.asarray(np.round(known / sum(weights.values()), 4))


def _not_known(signs: Signs, seen: Standardised) -> list[tuple[str, ...]]:
    """Returns what is not known, per row, in words: a group where none of its signs is known, else
    the signs.
    """
    places: dict[str, list[int]] = {}
    for place, code in enumerate(signs.codes):
        places.setdefault(signs.by_code[code].group, []).append(place)
    cache: dict[bytes, tuple[str, ...]] = {}
    found = []
    for known in seen.known:
        key = known.tobytes()
        if key not in cache:
            words: list[str] = []
            for group, members in places.items():
                missing = [place for place in members if not known[place]]
                if len(missing) == len(members):
                    words.append(signs.groups[group].name)
                else:
                    words += [signs.by_code[signs.codes[place]].short for place in missing]
            cache[key] = tuple(words)
        found.append(cache[key])
    return found


def _reasons(
    row: int, added: Array, seen: Standardised, reference: Reference
) -> tuple[Reason, ...]:
    """Returns what raises the forecast: changes before levels, largest first; at most two signs of
    a group and one of a family; a level only where it is plainly bad.
    """
    signs = reference.forecast.signs.by_code
    candidates = sorted(
        (
            (sign.kind is Kind.LEVEL, -float(added[place]), code)
            for place, (code, sign) in enumerate(signs.items())
            if added[place] > 0
            and seen.z[row, place]
            >= (_PLAINLY_BAD if sign.kind is Kind.LEVEL else _PLAINLY_CHANGED)
        ),
    )
    groups: dict[str, int] = {}
    families: set[str] = set()
    found: list[Reason] = []
    for _, less, code in candidates:
        sign = signs[code]
        if groups.get(sign.group, 0) >= _OF_A_GROUP or sign.family in families:
            continue
        reason = _reason(row, code, -less, seen, reference)
        if reason is None:
            continue
        if found and -less < _WORTH_IT * found[0].contribution:
            continue
        groups[sign.group] = groups.get(sign.group, 0) + 1
        families.add(sign.family)
        found.append(reason)
        if len(found) == _REASONS:
            break
    if found:
        return tuple(found)
    # Nothing stands out, but a level above Low needs a reason: take the strongest sign.
    strongest = int(np.argmax(added))
    if added[strongest] > 0:
        reason = _reason(
            row, reference.forecast.codes[strongest], float(added[strongest]), seen, reference
        )
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
        label=reference.forecast.signs.by_code[code].words(
            now=now, usual=usual, n=n, n_usual=n_usual, k=now * n, k_usual=usual * n_usual
        ),
        value=round(now, 6),
        reference=round(usual, 6),
        n=None if isnan(n) else int(n),
        contribution=round(contribution, 6),
    )


def _nothing_known(
    forecast: Forecast, subject: str, named: str, made_from: str, unknown: tuple[str, ...]
) -> Score:
    return Score(
        subject_id=subject,
        scorer=forecast.scorer,
        version=named,
        target=forecast.target,
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
