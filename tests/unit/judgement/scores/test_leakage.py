"""What knows the future is found, named, and nothing honest with it."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tutor_pipeline.judgement.scores import leakage
from tutor_pipeline.judgement.scores.evaluation import Figure
from tutor_pipeline.judgement.scores.leakage import Day

DAY = date(2026, 5, 2)
AT = datetime(2026, 5, 3, 4, 30, tzinfo=UTC)
PEOPLE, WEEKS = 400, 10
NUMBERS = st.floats(-1e6, 1e6) | st.just(np.nan)


# The log ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("late", "newest", "is_due"),
    [
        (0, None, False),  # it has not settled
        (1, None, True),
        (7, None, True),
        (8, None, False),  # too late to be what it was when it was new
        (1, DAY, False),
        (1, DAY + timedelta(days=1), False),  # no way back
        (1, DAY - timedelta(days=1), True),
    ],
)
def test_a_day_is_logged_when_it_has_settled_and_is_still_new(late, newest, is_due):
    assert leakage.is_due(DAY, DAY + timedelta(days=late), newest, 1) is is_due


def day(then, now, *, compared=None, at=AT, on=DAY, who=None):
    """A day of one column; every row is among those that are not the same."""
    then, now = np.array(then, dtype=float), np.array(now, dtype=float)
    who = who or [f"T{number}" for number in range(len(then))]
    return Day(on, at, compared or len(then), who, {"x": then}, {"x": now})


def changed(*days, accepted=None):
    return leakage.changed(days, accepted or {})


def test_what_is_the_same_but_for_rounding_is_no_leak():
    values = [0.0, 1.0, 1e6, np.nan]
    assert changed(day(values, [0.0, 1 + 1e-9, 1e6 + 0.01, np.nan])) == []
    assert changed() == []
    assert changed(day([], [], compared=10)) == []


def test_what_differs_for_over_a_hundredth_of_the_rows_is_named_with_an_example():
    (found,) = changed(day([2.0, np.nan], [3.0, 4.0], compared=199))
    assert (found.column, found.rows, found.compared) == ("x", 2, 199)
    assert found.days == (DAY, DAY)
    assert found.example == ("T0", DAY, 2.0, 3.0)
    assert found.share == pytest.approx(2 / 199)
    # A hundredth is not more than a hundredth.
    assert changed(day([2.0, np.nan], [3.0, 4.0], compared=200)) == []


def test_a_correction_of_one_person_is_no_leak_in_however_many_weeks():
    weeks = [
        day([1.0], [2.0], compared=5, on=DAY + timedelta(weeks=n), who=["T7"]) for n in range(9)
    ]
    assert changed(*weeks) == []
    assert len(changed(*weeks, day([1.0], [2.0], compared=5, who=["T8"]))) == 1


def test_an_accepted_column_is_held_against_what_was_logged_later():
    before = day([1.0, 1.0], [2.0, 2.0])
    assert changed(before, accepted={"x": AT}) == []
    assert len(changed(before, accepted={"x": AT - timedelta(seconds=1)})) == 1
    later = day([1.0, 1.0], [2.0, 2.0], at=AT + timedelta(days=7), on=DAY + timedelta(days=7))
    (found,) = changed(before, later, accepted={"x": AT})
    assert (found.rows, found.days) == (2, (later.day, later.day))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20))
def test_differing_is_mutual_and_nothing_differs_from_itself(pairs):
    a, b = np.array(pairs).T
    assert not leakage.differs(a, a).any()
    assert (leakage.differs(a, b) == leakage.differs(b, a)).all()
    assert leakage.differs(a, np.where(np.isnan(a), 0.0, np.nan)).all()


@given(st.integers(0, 40), st.integers(40, 4_000))
def test_the_share_decides_whatever_the_size(differing, compared):
    found = changed(day([0.0] * differing, [1.0] * differing, compared=compared))
    assert bool(found) is (differing > 0.01 * compared and differing > 1)


# Present values ---------------------------------------------------------------------------------


def weekly(values, weeks):
    """`values`, one a person, said anew each week; and whose each is."""
    return np.tile(values, weeks), np.tile(np.arange(len(values)), weeks)


def test_a_column_that_nobody_changes_in_holds_its_present_value():
    rate, who = weekly(np.linspace(20, 60, 12), 8)
    once = rate.copy()
    once[-1] += 1
    constant = np.full_like(rate, 8.0)
    columns = {"rate": rate, "once": once, "constant": constant, "nothing": np.nan * rate}
    assert leakage.unchanging(columns, who) == ["rate"]


def test_few_weeks_or_few_people_prove_no_present_value():
    for people, weeks in ((12, 7), (9, 8)):
        rate, who = weekly(np.linspace(20, 60, people), weeks)
        assert leakage.unchanging({"rate": rate}, who) == []
    assert leakage.unchanging({"rate": np.array([])}, np.array([], dtype=int)) == []


@settings(max_examples=50)
@given(st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_rows_decides_nothing(random, is_changed):
    rate, who = weekly(np.linspace(20, 60, 12), 8)
    if is_changed:
        rate[3] += 5
    order = list(range(len(who)))
    random.shuffle(order)
    found = leakage.unchanging({"rate": rate[order]}, who[order])
    assert found == ([] if is_changed else ["rate"])


# What rests on what -----------------------------------------------------------------------------


def measure(columns):
    return {
        "sum": columns["a"] + columns["b"],
        "first": columns["a"] * 2,
        "wide": np.column_stack([columns["c"], columns["c"]]),
    }


def test_what_rests_on_a_column_is_what_moves_with_it():
    columns = {name: np.array([1.0, 2.0, np.nan]) for name in "abcd"}
    found = {name: leakage.rests_on(measure, columns, name) for name in columns}
    assert found == {"a": {"sum", "first"}, "b": {"sum"}, "c": {"wide"}, "d": frozenset()}
    assert leakage.moved(measure, columns, "a", columns["a"].copy()) == frozenset()


def test_of_the_forecast_each_column_moves_its_own_signs():
    from tests.unit.judgement.scores.frames import made_up
    from tutor_pipeline.judgement.scores.departure.measures import columns_of
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS

    (rows,) = made_up(200, 1, seed=1).history.values()
    columns = columns_of(rows, TUTORS.reads)
    columns["hours_next_week"] = columns["hours_this_week"] + 1
    usual = TUTORS.usual_of(columns)

    def measured(given):
        return {
            code: np.column_stack([each.value, each.variance])
            for code, each in TUTORS.measure(given, usual).items()
        }

    found = {name: leakage.rests_on(measured, columns, name) for name in TUTORS.reads}
    assert found["reply_hours_14d"] == {"reply", "reply_level"}
    assert found["hours_next_week"] == {"hours", "hours_level"}
    assert found["login_days_14d"] == {"logins"}
    assert found["rating_28d"] == {"rating", "rating_level"}
    assert found["reschedules_28d"] == {"reschedules", "reschedules_level"}
    assert all(found.values()), [name for name, signs in found.items() if not signs]
    assert frozenset().union(*found.values()) == set(TUTORS.codes)


# Predicting too well ------------------------------------------------------------------------------


def people(seed):
    """Rows of people and weeks; who left by the end of a row's month, and how near that is."""
    rng = np.random.default_rng(seed)
    leave = np.where(rng.random(PEOPLE) < 0.1, rng.integers(1, 7 * WEEKS, PEOPLE), 10_000)
    who = np.repeat(np.arange(PEOPLE), WEEKS)
    lead = np.repeat(leave, WEEKS) - np.tile(7 * np.arange(WEEKS), PEOPLE)
    return rng, who[lead > 0], lead[lead > 0]


def tells(column, who, lead):
    views = leakage.value_and_knowledge(column)
    return leakage.telling(views, lead <= 30, who) or leakage.telling_soon(
        views, lead <= 30, lead <= 14, who
    )


def honest(rng, who, strength):
    """Normal noise, `strength` apart for those who leave; of a person's weeks half is the same."""
    noise = np.sqrt(0.5) * (rng.normal(size=PEOPLE)[who] + rng.normal(size=len(who)))
    return lambda lead: noise + strength * (lead <= 30)


PLANTS = {
    "the future": lambda rng, who, lead: -np.minimum(lead, 60) + rng.normal(0, 5, len(who)),
    "a status": lambda rng, who, lead: (lead <= 30).astype(float),
    "a status the other way": lambda rng, who, lead: (lead > 30) * 1.0,
    "known of leavers only": lambda rng, who, lead: np.where(lead <= 30, 1.0, np.nan),
    "unknown of leavers": lambda rng, who, lead: np.where(lead <= 30, np.nan, rng.random(len(who))),
    "a shift of leavers": lambda rng, who, lead: rng.gamma(3, 0.8, len(who)) + 8 * (lead <= 30),
    "a shift that averages": lambda rng, who, lead: (
        rng.normal(size=len(who)) + np.clip(33 - lead, 0, 14) * 0.35
    ),
}


@pytest.mark.parametrize("name", list(PLANTS))
@pytest.mark.parametrize("seed", [1, 2])
def test_a_planted_column_is_found(name, seed):
    rng, who, lead = people(seed)
    told = tells(PLANTS[name](rng, who, lead), who, lead)
    assert told is not None
    assert told.auc >= told.lower > 0.9


@pytest.mark.parametrize("strength", [0, 0.7, 1.0, 1.2, 1.47, 1.7])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_an_honest_column_is_not_however_strong(strength, seed):
    """AUC from 0.5 to 0.88."""
    rng, who, lead = people(seed)
    assert tells(honest(rng, who, strength)(lead), who, lead) is None


def test_what_shows_only_shortly_before_is_a_good_sign():
    rng, who, lead = people(3)
    assert tells(rng.normal(size=len(who)) + 4 * (lead <= 8), who, lead) is None


def test_of_few_people_nothing_can_be_said():
    _, who, lead = people(1)
    left = np.unique(who[lead <= 30])
    kept = ~np.isin(who, left[7:])
    status = (lead <= 30).astype(float)
    assert tells(status[kept], who[kept], lead[kept]) is None
    kept |= who == left[7]
    assert tells(status[kept], who[kept], lead[kept]) is not None
    assert not leakage.is_too_good(Figure(0.99, 0.95, 1.0), 7)
    assert leakage.is_too_good(Figure(0.99, 0.95, 1.0), 8)
    assert not leakage.is_too_good(Figure(0.99, 0.9, 1.0), 50)
    assert not leakage.is_too_good(Figure(None), 50)


@given(arrays.arrays(float, 60, elements=NUMBERS), st.integers(0, 60))
@settings(max_examples=60)
def test_whatever_the_numbers_there_is_an_answer(column, positives):
    left = np.arange(60) < positives
    told = leakage.telling(leakage.value_and_knowledge(column), left, np.arange(60))
    assert told is None or 0.9 < told.lower <= told.auc <= 1


# Any table --------------------------------------------------------------------------------------


def table():
    rng = np.random.default_rng(7)
    label = rng.random(300) < 0.2
    order = np.argsort(np.argsort(~label, kind="stable"), kind="stable")
    honest_ = rng.normal(size=300) + 1.4 * label
    columns = {
        "strong": honest_,
        "noise": rng.normal(size=300),
        "infinite": np.where(rng.random(300) < 0.1, np.inf, rng.normal(size=300)),
        "category": rng.choice(["red", "green", "blue", None], 300),
        "serial": [f"E{number:04d}" for number in rng.permutation(300)],
        "uuid": [f"{number:032x}" for number in rng.integers(0, 2**62, 300)],
        "id_in_order": order + 1,
        "text_in_order": [f"E{number:04d}" for number in order],
        "prefix": [f"{'X' if each else 'C'}-{rng.integers(1e6)}" for each in label],
        "suffix": [f"{rng.integers(1e6)}{'b' if each else 'a'}" for each in label],
        "status": np.where(label, "left", "active"),
        "leaving_date": np.where(label, "2026-01-02", None),
        "numbered": [f"{'x' * rng.integers(1, 9)}{int(n)}" for n in 1000 * label + order],
    }
    return columns, label


HONEST = {"strong", "noise", "infinite", "category", "serial", "uuid"}


def test_a_label_in_an_id_or_a_text_is_found_and_named():
    columns, label = table()
    matrix = np.array(list(columns.values()), dtype=object).T
    found = leakage.suspects(list(columns), matrix, label, np.arange(300))
    assert found.keys() == columns.keys() - HONEST
    assert found["status"].startswith("what it says tells it with an AUC of 1.00")
    assert found["leaving_date"].startswith("whether it is known tells it")
    assert found["prefix"].split(" tells")[0] in {
        "its place in the alphabet", "its first letter",
    }  # fmt: skip


def test_people_with_many_rows_are_drawn_as_a_whole():
    """What is said of a person twenty times proves no more than once."""
    columns, label = table()
    matrix = np.array([columns["strong"]], dtype=object).T
    once = leakage.suspects(["strong"], matrix, label, np.arange(300))
    many = leakage.suspects(
        ["strong"], np.repeat(matrix, 20, axis=0), np.repeat(label, 20), np.repeat(range(300), 20)
    )
    assert once == many == {}


def a_day(column, then, now, number=100):
    return leakage.Day(
        date(2026, 1, 3),
        datetime(2026, 1, 4, tzinfo=UTC),
        number,
        [f"T{each}" for each in range(len(then))],
        {column: np.array(then)},
        {column: np.array(now)},
    )


@pytest.mark.parametrize(
    ("column", "then", "now", "is_told"),
    [
        # A report of the coming week takes the place of the one before it.
        ("hours_next_week", 20.0, np.nan, False),
        ("hours_next_week", 20.0, 4.0, True),
        ("hours_next_week", np.nan, 4.0, True),
        ("hours_this_week", 20.0, np.nan, True),
        # A session of many is refunded; somebody who earned nothing any more is another past.
        ("earned_28d", 1000.0, 900.0, False),
        ("earned_28d", 1000.0, 100.0, True),
        ("earned_28d", 1000.0, 1100.0, True),
        ("completed_28d", 10.0, 9.0, True),
    ],
)
def test_what_comes_about_honestly_is_no_other_past(column, then, now, is_told):
    days = [a_day(column, [then] * 10, [now] * 10)]
    assert bool(leakage.changed(days, {})) is is_told
