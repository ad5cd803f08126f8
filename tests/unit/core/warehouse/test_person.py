"""A person is named by their whole id: in texts, in JSON, in files, however it is written there."""

import csv
import html
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Template

from tutor_pipeline.core.warehouse.personal_data import ERASED, Person, Role

ODD = ["T1", 'O\'Neil "the" %s', "Zoë#1", "a{b}c|d", "\\d+", "<b>", "T 1", "日本", "x" * 300]


def tutor(id_, **known):
    return Person(Role.TUTOR, id_, **known)


@pytest.mark.parametrize("id_", ODD)
def test_an_id_is_masked_wherever_it_may_stand_whole(id_):
    value = {"tutors": [id_, "T9"], "why": f"tutor {id_} is late: {id_}.", id_: 1, "n": 3}
    assert tutor(id_).masked(value) == {
        "tutors": [ERASED, "T9"], "why": f"tutor {ERASED} is late: {ERASED}.", ERASED: 1, "n": 3,
    }  # fmt: skip


@pytest.mark.parametrize("id_", ODD)
def test_it_is_found_however_a_file_writes_it(id_):
    line = io.StringIO()
    csv.writer(line).writerow(["x", id_, f"about {id_}, and more"])
    once = json.dumps({"id": id_})
    page = Template("<td>{{ id }}</td>", autoescape=True).render(id=id_)
    for text in (line.getvalue(), once, json.dumps({"event": once}), page, html.escape(id_)):
        assert tutor(id_).is_meant_in(text), text
    broken = json.dumps(f"a line\n{id_}\nand another\t{id_}")
    assert id_ not in json.loads(tutor(id_).masked(broken))


@pytest.mark.parametrize(
    "other", ["T10", "T11", "XT1", "T1x", "T1-2", "A-T1", "T1.5", "T1_", "t1", "T1@x.org", "ÄT1"]
)
def test_another_id_that_holds_it_is_somebody_else(other):
    value = {"tutor_id": other, "why": f"tutor {other}, and {other}.", "all": [other]}
    assert tutor("T1").masked(value) == value
    assert not tutor("T1").is_meant_in(json.dumps(value))


def test_a_number_counts_only_where_the_text_says_whose_it_is():
    five = tutor("5")
    kept = {
        "title": "5 tutors are set aside",
        "rating": "5",
        "note": "called 5 times",
        "n": 5,
        "table": "| late | 5 |",
        "reason": "rescheduled by the tutor: 5 of 12",
        "tags": '{"tutors": "5", "tutors_touched": 5}',
    }
    assert five.masked(kept) == kept
    assert five.masked(
        {
            "config": '{"tutors": ["3", "5"]}', "row": json.dumps('{"tutor_id": "5"}'),
            "tutor_id": "5", "tutor_ids": ["5", "6"], "why": "tutor 5 is late, tutor 55 is not",
            "query": "where tutor_id = '5'", "change": "| **opened** | 5 | 15 |",
        }
    ) == {
        "config": f'{{"tutors": ["3", "{ERASED}"]}}',
        "row": json.dumps(f'{{"tutor_id": "{ERASED}"}}'),
        "tutor_id": ERASED, "tutor_ids": [ERASED, "6"],
        "why": f"tutor {ERASED} is late, tutor 55 is not",
        "query": f"where tutor_id = '{ERASED}'", "change": f"| **opened** | {ERASED} | 15 |",
    }  # fmt: skip
    assert five.is_named_in({"5": "why"}, "skipped")
    assert not five.is_named_in({"5": "why"}, "seconds")
    assert five.is_meant_in("<td>5</td>", numbers_count=True)
    assert not five.is_meant_in("<td>5</td>")


@pytest.mark.parametrize("id_", ["X", "5"])
def test_a_student_of_the_same_id_is_somebody_else(id_):
    value = {"student_id": id_, "last_student_id": id_, "student_ids": [id_]}
    assert tutor(id_).masked(value) == value
    assert Person(Role.STUDENT, id_).masked({"tutor_id": id_, **value}) == {
        "tutor_id": id_, "student_id": ERASED, "last_student_id": ERASED, "student_ids": [ERASED],
    }  # fmt: skip


def test_a_session_is_the_tutors_and_a_name_counts_in_files_alone():
    ann = tutor("T1", sessions=frozenset({"S1", "7"}), contact=("Ann Lee", "ann@x.org", "Ann"))
    sample = [{"session_id": "S1", "score": "7"}, {"session_id": "7"}, {"session_id": "S10"}]
    assert ann.masked(sample) == [
        {"session_id": ERASED, "score": "7"}, {"session_id": ERASED}, {"session_id": "S10"},
    ]  # fmt: skip
    assert ann.masked("Ann Lee") == "Ann Lee"
    for text in ("of S1,", "Ann Lee needs a call", "mailto:ann@x.org"):
        assert ann.is_meant_in(text), text
    for text in ("of S10", "Ann Leeds", "Ann is here", "joann@x.org", "7"):
        assert not ann.is_meant_in(text), text


@given(st.text(min_size=1), st.text(min_size=1))
def test_of_any_two_ids_only_the_one_is_masked(id_, other):
    value = {"tutor_id": id_, "tutor_ids": [id_, f"x{id_}", other], "why": f"tutor {id_} left"}
    masked = tutor(id_).masked(value)
    assert masked["tutor_id"] == masked["tutor_ids"][0] == ERASED
    if other not in tutor(id_).ids and id_ not in other:
        assert masked["tutor_ids"][2] == other
    if id_[0].isalnum():
        assert masked["tutor_ids"][1] == f"x{id_}"
        assert masked["why"] == f"tutor {ERASED} left"
