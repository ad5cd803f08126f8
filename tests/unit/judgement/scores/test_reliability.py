"""The reliability level: each count at its edges, what is not known, and the score's order."""

from itertools import product

import pytest

from tutor_pipeline.judgement.scores.reliability import score
from tutor_pipeline.judgement.scores.score import Level, Status, Target

RELIABLE = {
    "tutor_id": "T1",
    "no_show_tutor_30d": 0,
    "no_show_tutor_30d_n": 20,
    "tutor_reschedules_30d": 0,
    "reschedule_rate_30d_n": 20,
    "late_count_30d": 0,
    "late_count_30d_n": 15,
}
LOW, MEDIUM, HIGH = Level


def of(**changed):
    (found,) = score([RELIABLE | changed])
    return found


@pytest.mark.parametrize(
    ("metric", "levels"),
    [
        ("no_show_tutor_30d", (LOW, MEDIUM, HIGH, HIGH)),
        ("tutor_reschedules_30d", (LOW, LOW, MEDIUM, MEDIUM, HIGH, HIGH)),
        ("late_count_30d", (LOW, LOW, MEDIUM, MEDIUM, HIGH, HIGH)),
    ],
)
def test_each_count_alone(metric, levels):
    assert tuple(of(**{metric: count}).level for count in range(len(levels))) == levels


def test_the_worst_decides_and_the_reasons_say_why():
    found = of(no_show_tutor_30d=1, late_count_30d=5)
    assert (found.level, found.score) == (HIGH, 0.43)
    assert [(r.code, r.value, r.reference, r.n, r.contribution) for r in found.reasons] == [
        ("late_starts", 5, 4, 15, 0.33),
        ("no_shows", 1, 1, 20, 0.1),
    ]
    assert found.reasons[0].label == "5 late starts in 15 sessions of 30 days: high from 4"
    assert (found.target, found.horizon_days) == (Target.TUTOR_RELIABILITY, 30)
    assert (found.scorer, found.version, found.is_probability) == ("reliability_v1", "2", False)


def test_a_reliable_tutor_has_no_reason():
    found = of()
    assert (found.level, found.score, found.reasons) == (LOW, 0.0, ())


def test_what_is_not_known_is_not_evaluated_and_the_rest_counts():
    found = of(late_count_30d=None, late_count_30d_n=0, tutor_reschedules_30d=2)
    assert (found.level, found.status) == (MEDIUM, Status.OK)
    assert [(r.code, r.contribution) for r in found.reasons] == [
        ("reschedules", 0.1),
        ("late_starts", 0.0),
    ]
    assert found.reasons[1].label.startswith("Late starts: unknown")


@pytest.mark.parametrize(
    "changed",
    [
        {
            "no_show_tutor_30d_n": 0,
            "reschedule_rate_30d_n": 0,
            "late_count_30d": None,
            "late_count_30d_n": 0,
        },
        dict.fromkeys(("no_show_tutor_30d", "tutor_reschedules_30d", "late_count_30d")),
    ],
)
def test_nothing_known_is_no_score(changed):
    found = of(**changed)
    assert (found.level, found.score, found.status) == (None, None, Status.INSUFFICIENT_DATA)
    assert len(found.reasons) == 3


def test_what_is_excused_is_no_exposure():
    found = of(no_show_tutor_30d_n=0, tutor_reschedules_30d=4, reschedule_rate_30d_n=15)
    assert [reason.code for reason in found.reasons] == ["reschedules", "no_shows"]
    assert found.reasons[0].label == "4 reschedules in 15 sessions of 30 days: high from 4"
    assert found.reasons[1].label.startswith("No-shows: unknown")


def test_a_higher_level_is_a_higher_score_and_contributions_add_up():
    counts = product((0, 1, 2, 3), (0, 2, 4, None), (0, 2, 4, None))
    names = ("no_show_tutor_30d", "tutor_reschedules_30d", "late_count_30d")
    found = [of(**dict(zip(names, each, strict=True))) for each in counts]
    by_level = {level: [each.score for each in found if each.level is level] for level in Level}
    assert max(by_level[LOW]) < min(by_level[MEDIUM])
    assert max(by_level[MEDIUM]) < min(by_level[HIGH])
    for each in found:
        assert each.score == round(sum(reason.contribution for reason in each.reasons), 6)


def test_rows_keep_their_order_and_the_same_row_gives_the_same_bytes():
    table = [RELIABLE | {"tutor_id": f"T{i}", "no_show_tutor_30d": i % 3} for i in range(9)]
    found = score(table)
    assert [each.subject_id for each in found] == [row["tutor_id"] for row in table]
    assert repr(score(table[::-1])[::-1]) == repr(found)
    assert found[0].input_hash == found[3].input_hash != found[1].input_hash
