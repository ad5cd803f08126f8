"""Detects leakage (past rows that know the future) and acts on it: leaves columns out of learning,
holds a version back, and opens an incident.

Belongs here: logging a day, looking for leaks of the forecast of departures, incidents. Does not
belong here: the definition of a leak (`scores.leakage`), learning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.scores import leakage
from tutor_pipeline.judgement.scores.evaluation import NOTHING, Array, Figure, Sample, auc
from tutor_pipeline.judgement.scores.score import Subject
from tutor_pipeline.judgement.scores.storage import feature_log, score_tables, versions
from tutor_pipeline.metrics import dbt, entries
from tutor_pipeline.people import incidents
from tutor_pipeline.people.incidents import Kind
from tutor_pipeline.steps import tell
from tutor_pipeline.steps.backtest_tutors import SETTLING_DAYS, Past, decision_of
from tutor_pipeline.steps.forecaster import keep_version

OF_STUDENTS = " of students"
"""Suffix of a column's name when it belongs to the students' evidence."""

_DEFINED_BY = (
    "macros/days_asked.sql",
    "macros/excuses.sql",
    "macros/sessions_ahead.sql",
    "models/marts/tutor_evidence.sql",
    "models/intermediate/int_tutor_days.sql",
    "models/intermediate/int_tutor_logins.sql",
    "models/intermediate/int_import_days.sql",
)
"""The files that define the evidence of tutors, with the entries of measures: a changed text may
give a day other values."""

_HELD_OUT = 1 / 3
"""The newest share of the weeks, held out to test a forecast learned on the others."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A column that is left out of learning, with the signs that depend on it and the reason."""

    column: str
    signs: tuple[str, ...]
    why: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """What was found. `logged_weeks`: weeks compared with the log, None: nothing is logged.
    `present_only`: columns that hold only their present value, with the signs that depend on them
    and the first day from which they count.
    """

    leaks: tuple[Leak, ...]
    present_only: Mapping[str, tuple[tuple[str, ...], date | None]]
    logged_weeks: int | None

    @property
    def left_out(self) -> tuple[str, ...]:
        """The signs that are left out of learning."""
        return tuple(sorted({sign for leak in self.leaks for sign in leak.signs}))

    @property
    def verified(self) -> str:
        """How far the history was compared with the values logged when it was new."""
        if self.logged_weeks is None:
            return "not verified: nothing is logged"
        weeks = f"{self.logged_weeks:,} of {leakage.FEWEST_WEEKS} logged weeks"
        if self.logged_weeks < leakage.FEWEST_WEEKS:
            return f"not yet verified ({weeks})"
        return f"verified on {count(self.logged_weeks, 'logged week')}"

    def words(self) -> str:
        """Describe what is left out and how far the rest is verified, for a version's decision."""
        said = [
            f"left out: {', '.join(leak.signs)}, as {leak.column} {leak.why}" for leak in self.leaks
        ]
        said += [
            f"no evidence before {first or 'it is logged'}: {', '.join(signs)}, as {column} holds"
            " only its present value"
            for column, (signs, first) in self.present_only.items()
        ]
        return "; ".join((*said, self.verified))


def log_evidence(database: Database, as_of: datetime) -> date | None:
    """Log the newest day of the tutors' evidence as the history holds it now. Returns the day, or
    None if it is logged already or not due.
    """
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
    from tutor_pipeline.judgement.scores.storage import evidence_history

    on = score_tables.day_of(database.warehouse, as_of)
    found = evidence_history.days(database, TUTORS, on - timedelta(days=SETTLING_DAYS))
    if not found:
        return None
    newest = feature_log.newest_day(database, Subject.TUTOR)
    if not leakage.is_due(found[-1], on, newest, SETTLING_DAYS):
        return None
    columns, definition = _logged()
    written = feature_log.write(database, Subject.TUTOR, found[-1], columns, definition, as_of)
    return found[-1] if written else None


def _logged() -> tuple[tuple[str, ...], str]:
    """The columns that are logged, and the hash of their definition."""
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS

    text = "\n".join((dbt.definition(*_DEFINED_BY), entries.definition_of_days()))
    return TUTORS.reads, feature_log.definition_of(text, TUTORS.reads)


def look(database: Database, past: Past) -> Look:
    """Look for leaks in what the forecast of departures would learn from."""
    columns, definition = _logged()
    days = feature_log.read(database, Subject.TUTOR, columns, definition)
    accepted = feature_log.accepted(database, Subject.TUTOR)
    logged_weeks = sum(day.compared > 0 for day in days)
    if not past.weeks:
        return Look((), {}, logged_weeks)
    known = past.weeks[-1].reference.known
    leaks = []
    if not logged_weeks:
        # The history has other weekdays than the log: earlier findings stay as they are.
        leaks += _held_open(database, known, accepted)
    for each in leakage.changed(days, accepted):
        signs = leakage.moved(_measure(past), each.now, each.column, each.then[each.column])
        if signs & known:
            leaks.append(_changed(each, signs & known))
    taken = {leak.column for leak in leaks}
    for column, (told, soon, signs) in _telling(past).items():
        if column not in taken and column not in accepted and signs & known:
            leaks.append(_told(column, told, soon, signs & known))
    first = feature_log.first_days(database, Subject.TUTOR)
    return Look(
        tuple(sorted(leaks, key=lambda leak: leak.column)),
        {
            column: (tuple(sorted(signs & known)), first.get(column))
            for column, signs in _present_only(past).items()
            if column not in accepted and signs & known
        },
        logged_weeks,
    )


def look_at_students(database: Database, past: Any) -> Look:
    """Look for columns that predict too well in the training data of the students' forecast
    (`past_students.PastOfStudents`). Their evidence is not logged.
    """
    accepted = feature_log.accepted(database, Subject.STUDENT)
    if not past.weeks:
        return Look((), {}, None)
    known = past.weeks[-1].reference.known
    return Look(
        tuple(
            _told(column, told, soon, signs & known)
            for column, (told, soon, signs) in sorted(_telling(past).items())
            if column not in accepted and signs & known
        ),
        {},
        None,
    )


def _held_open(
    database: Database, known: frozenset[str], accepted: Mapping[str, datetime]
) -> list[Leak]:
    """Columns whose past values differed when they were last compared."""
    return [
        Leak(
            each["subject"],
            signs,
            "had other values when it was new, and could not be compared this time",
            {name: each["details"][name] for name in ("share", "rows", "compared", "days")},
        )
        for each in incidents.listed(database, kind=Kind.LEAKAGE)
        if "share" in each["details"]
        and each["subject"] not in accepted
        and (signs := tuple(sorted(known.intersection(each["details"]["signs"]))))
    ]


def _changed(each: leakage.Changed, signs: frozenset[str]) -> Leak:
    whose, day, then, now = each.example
    return Leak(
        each.column,
        tuple(sorted(signs)),
        f"had other values when it was new in {each.share:.1%} of the rows",
        {
            "share": round(each.share, 4),
            "rows": each.rows,
            "compared": each.compared,
            "days": [day.isoformat() for day in each.days],
            "example": f"{whose} on {day}: {_shown(then)} when it was new, {_shown(now)} now",
        },
    )


def _told(column: str, told: leakage.Telling, soon: bool, signs: frozenset[str]) -> Leak:
    within = f" within {leakage.NEAR_DAYS} days" if soon else ""
    return Leak(
        column,
        tuple(sorted(signs)),
        f"predicts departures{within} too well ({told.what}: AUC {told.auc:.2f}, at least"
        f" {told.lower:.2f})",
        {"auc": round(told.auc, 4), "at_least": round(told.lower, 4)},
    )


def _shown(number: float | None) -> str:
    return "not known" if number is None else f"{number:g}"


def _measure(past: Any) -> Any:
    """Each sign as measured now, with how far chance alone moves it."""
    reference = past.weeks[-1].reference

    def measured(columns: Mapping[str, Array]) -> Mapping[str, Array]:
        return {
            code: np.column_stack([each.value, each.variance])
            for code, each in reference.forecast.measure(columns, reference.usual).items()
        }

    return measured


@dataclass(frozen=True, slots=True)
class _Rows:
    """Watched rows and their outcomes: left within the horizon, or with `soon` within NEAR_DAYS."""

    columns: Mapping[str, Array]
    z: Array
    left: Array
    soon: Array
    who: Array


def _rows(past: Any, *, only_learned: bool) -> _Rows:
    """The watched rows of all weeks; with `only_learned`, only the rows that are learned from."""
    from tutor_pipeline.judgement.scores.departure.forecast import HORIZON_DAYS
    from tutor_pipeline.judgement.scores.departure.outcomes import leaves

    until = past.known_until - timedelta(days=HORIZON_DAYS)
    used = [each for each in past.watched if not only_learned or each.week.day <= until]
    kept = [
        each.week.is_there if only_learned else np.ones(len(each.week.ids), dtype=bool)
        for each in used
    ]

    def of(values: Sequence[Array]) -> Array:
        return np.concatenate([each[rows] for each, rows in zip(values, kept, strict=True)])

    codes: dict[str, int] = {}
    who = [np.array([codes.setdefault(t, len(codes)) for t in each.week.ids]) for each in used]
    left, soon = (
        [
            np.array(
                [leaves(each.week.day, past.departures.get(t), days) for t in each.week.ids],
                dtype=bool,
            )
            for each in used
        ]
        for days in (HORIZON_DAYS, leakage.NEAR_DAYS)
    )
    return _Rows(
        {name: of([each.columns[name] for each in used]) for name in used[0].columns},
        of([each.week.z for each in used]),
        of(left),
        of(soon),
        of(who).astype(int),
    )


def _telling(past: Any) -> dict[str, tuple[leakage.Telling, bool, frozenset[str]]]:
    """Columns and signs that predict departures too well: how well, whether only near ones, and
    which signs depend on them.
    """
    from tutor_pipeline.judgement.scores.departure.forecast import HORIZON_DAYS

    until = past.known_until - timedelta(days=HORIZON_DAYS)
    if not any(each.week.day <= until for each in past.watched):
        return {}
    rows = _rows(past, only_learned=True)
    found: dict[str, tuple[leakage.Telling, bool, frozenset[str]]] = {}
    for name, column in rows.columns.items():
        views = leakage.value_and_knowledge(column)
        told, soon = leakage.telling(views, rows.left, rows.who), False
        if told is None:
            told, soon = leakage.telling_soon(views, rows.left, rows.soon, rows.who), True
        if told is not None:
            signs = leakage.rests_on(_measure(past), rows.columns, name)
            found[name] = (told, soon, signs)
    taken = {sign for _, _, signs in found.values() for sign in signs}
    for place, code in enumerate(past.weeks[-1].reference.forecast.codes):
        told = leakage.telling([("the sign", rows.z[:, place])], rows.left, rows.who)
        if told is not None and code not in taken:
            found[code] = (told, False, frozenset({code}))
    return found


def _present_only(past: Past) -> dict[str, frozenset[str]]:
    """Columns that hold only their present value, and the signs that depend on them."""
    rows = _rows(past, only_learned=False)
    return {
        name: leakage.rests_on(_measure(past), rows.columns, name)
        for name in leakage.unchanging(rows.columns, rows.who)
    }


def without_leaks(past: Any, found: Look) -> Any:
    """The past without what must not be learned from."""
    gone = set(found.left_out)

    def unknown(day: date) -> set[str]:
        return gone | {
            sign
            for signs, first in found.present_only.values()
            if first is None or day < first
            for sign in signs
        }

    if not past.departures or not (gone or found.present_only):
        return past
    return replace(past, weeks=[week.without(unknown(week.day)) for week in past.weeks])


def tells(past: Any, learned: Any, yearly_rate: float) -> tuple[Figure, int]:
    """How well the forecast predicts departures, and of how many tutors. Measured on the newest
    third of the weeks, after learning on those that had matured before; if these are too few, or
    the forecast is no suspect anyway, on its training rows.
    """
    from tutor_pipeline.judgement.scores.departure import learning, outcomes
    from tutor_pipeline.judgement.scores.departure.forecast import HORIZON_DAYS
    from tutor_pipeline.judgement.scores.departure.version import log_odds

    def figure(version: Any, rows: Any) -> tuple[Figure, int]:
        who = np.unique(rows.whose, return_inverse=True)[1]
        sample = Sample(who, np.zeros(len(who), dtype=int), rows.left)
        scores = log_odds(version, rows.z)
        point = auc(sample, scores, replicates=0)
        if point.value is None or point.value <= leakage.TOO_GOOD:
            return point, rows.departures
        return auc(sample, scores), rows.departures

    forecast = learned.forecast
    found = outcomes.matured(past.weeks, past.departures, past.known_until)
    if not learned.departures:
        return NOTHING, 0
    own = figure(learned, outcomes.gather(forecast, found, past.known_until))
    if not leakage.is_too_good(*own):
        return own
    days = [week.day for week, _ in found]
    first = days[int(len(days) * (1 - _HELD_OUT))]
    before = [
        (week, left) for week, left in found if week.day + timedelta(days=HORIZON_DAYS) < first
    ]
    known = outcomes.gather(forecast, before, first)
    asked = outcomes.gather(
        forecast, [pair for pair in found if pair[0].day >= first], past.known_until
    )
    enough = leakage.FEWEST_LEAVERS
    if known.departures < enough or asked.departures < enough:
        return own
    signs = past.weeks[-1].reference.known
    return figure(learning.learn(forecast, known.z, signs, known, yearly_rate), asked)


@dataclass(frozen=True, slots=True)
class Kept:
    """The fate of what was learned: the decision, the version, and its figures if it is held
    back.
    """

    decision: str
    version: int | None = None
    held: Mapping[str, Any] | None = None


def keep(
    database: Database,
    as_of: datetime,
    learned: Any,
    found: Look,
    told: tuple[Figure, int],
    comparison: Mapping[str, Any],
) -> Kept:
    """Store what was learned: in force from now on, or held back if it predicts departures better
    than is plausible. A version may score as high as one that somebody accepted.
    """
    figure, leavers = told
    decision = decision_of(learned)
    if not learned.departures:
        version = keep_version(database, as_of, learned, decision, comparison).version
        return Kept(decision, version)
    decision = f"{decision}; {found.words()}"
    version = versions.next_version(database, "model_versions")
    is_held = leakage.is_too_good(figure, leavers)
    held: dict[str, Any] | None = None
    if is_held:
        accepted = versions.accepted_upper(database, learned.forecast.scorer)
        says = (
            f"it predicts departures with an AUC of {figure.value:.2f}, at least {figure.lower:.2f}"
        )
        if accepted is not None and figure.lower is not None and figure.lower <= accepted:
            decision = f"{decision}; {says}, no better than what was accepted"
        else:
            held = {
                "version": version,
                "why": f"{says}, on {count(leavers, 'tutor')} who left",
                **asdict(figure),
            }
            decision = (
                f"Held back: {says}. Documented weights stay in force until: tutor-pipeline scores"
                f" accept {version}. {decision}"
            )
    metrics = {
        **comparison,
        "leakage": {
            "logged_weeks": found.logged_weeks,
            "left_out": {leak.column: list(leak.signs) for leak in found.leaks},
            "present_only": sorted(found.present_only),
            "auc": asdict(figure),
        },
    }
    keep_version(database, as_of, learned, decision, metrics, is_promoted=held is None)
    return Kept(decision, version, held)


def report(
    database: Database, outcomes: Sequence[tuple[str, Look, Kept]], run_id: str, now: datetime
) -> None:
    """Open incidents for what is left out or held back of each scorer; close those that are
    over.
    """
    from tutor_pipeline.judgement.scores.departure.students import STUDENTS

    broken: dict[Kind, set[str]] = {Kind.LEAKAGE: set(), Kind.HELD_BACK: set()}
    for scorer, found, kept in outcomes:
        for leak in found.leaks:
            subject = leak.column + (OF_STUDENTS if scorer == STUDENTS.scorer else "")
            broken[Kind.LEAKAGE].add(subject)
            tell.incident(
                database,
                Kind.LEAKAGE,
                subject,
                f"{subject} may know the future: {count(len(leak.signs), 'sign')} of {scorer} left"
                " out of learning",
                {
                    "why": f"{leak.column} {leak.why}"
                    + (f": {example}" if (example := leak.details.get("example")) else ""),
                    "signs": list(leak.signs),
                    **leak.details,
                },
                run_id=run_id,
                now=now,
            )
        if kept.held is not None:
            broken[Kind.HELD_BACK].add(scorer)
            tell.incident(
                database,
                Kind.HELD_BACK,
                scorer,
                f"version {kept.version} of {scorer} is held back: it is better than is plausible",
                kept.held,
                run_id=run_id,
                now=now,
            )
    for kind, subjects in broken.items():
        was = {each["subject"] for each in incidents.listed(database, kind=kind)}
        incidents.close(database, kind, sorted(was - subjects), now)
