"""Faults of a YAML file are named with the file, the line and the key."""

from typing import Annotated

import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.yaml_models import CODES, Coded, YamlModel, read_yaml
from tutor_pipeline.judgement.scores.churn_weights import FILE, _File
from tutor_pipeline.judgement.scores.departure.signs import Signs
from tutor_pipeline.judgement.scores.health.parts import Part


class Item(Coded):
    weight: float
    shown: str = ""


class Content(YamlModel):
    total: float
    items: Annotated[dict[str, Item], CODES]


class Listed(YamlModel):
    rows: tuple[Item, ...]


class Parts(YamlModel):
    parts: Annotated[dict[str, Part], CODES]


def faults(tmp_path, text, model=Content):
    file = tmp_path / "file.yml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(TutorPipelineError) as error:
        read_yaml(file, model, "test file")
    head, *found = str(error.value).splitlines()
    assert head == f"{file} is no test file:"
    return [each.removeprefix("  line ") for each in found]


def test_an_entry_knows_its_code(tmp_path):
    file = tmp_path / "file.yml"
    file.write_text("total: 1\nitems:\n  first: {weight: 2}\n", encoding="utf-8")
    assert read_yaml(file, Content, "test file").items["first"] == Item(code="first", weight=2)


def test_an_unknown_key_is_named_with_the_nearest_right_one(tmp_path):
    text = "total: 1\nitems:\n  first:\n    weigth: 2\n    weight: 2\n"
    assert faults(tmp_path, text) == [
        "4: items.first.weigth: there is no such key; did you mean weight?"
    ]
    assert faults(tmp_path, "totl: 1\ntotal: 1\nitems: {}\n") == [
        "1: totl: there is no such key; did you mean total?"
    ]
    assert faults(tmp_path, "zzz: 1\ntotal: 1\nitems: {}\n") == ["1: zzz: there is no such key"]


def test_every_fault_is_named_at_its_line(tmp_path):
    text = "total: much\nitems:\n  first: {shown: 1, weight: 1}\n  second: {}\n"
    found = faults(tmp_path, text)
    assert [each.split(":")[0] for each in found] == ["1", "3", "4"]
    assert "total" in found[0]
    assert "items.first.shown" in found[1]
    assert "items.second.weight" in found[2]


def test_an_entry_of_a_list_is_named_by_its_name(tmp_path):
    text = "rows:\n  - {code: a, weight: 1}\n  - name: b\n    code: b\n    weight: x\n    shon: y\n"
    assert faults(tmp_path, text, Listed) == [
        "5: rows.b.weight: must be a number",
        "3: rows.b.name: there is no such key",
        "6: rows.b.shon: there is no such key; did you mean shown?",
    ]


def test_what_is_no_yaml_is_named_at_its_line(tmp_path):
    file = tmp_path / "file.yml"
    file.write_text("total: 1\nitems: {\n", encoding="utf-8")
    with pytest.raises(TutorPipelineError, match=r"is no test file: line 3: this is not YAML: "):
        read_yaml(file, Content, "test file")


def test_weights_that_are_not_1_together_are_refused(tmp_path):
    text = FILE.read_text(encoding="utf-8")
    assert faults(tmp_path, text.replace("0.25", "0.24"), _File) == [
        "6: weights: they are not 0 to 1 each and 1 together"
    ]
    assert faults(tmp_path, text.replace("high_from: 0.66", "high_from: 0.2"), _File) == [
        "15: levels: medium_from is above high_from"
    ]


SIGN = "{group: g, kind: change, weight: 1, natural: 1, short: s, says: '{now:.1f}'}"
SIGNS = f"little_known_under: 0.4\ngroups:\n  g: {{weight: 1, name: n}}\nsigns:\n  a: {SIGN}\n"


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("group: g", "group: h", "signs.a.group: there is no group h; there are g"),
        ("{now:.1f}", "{then:.1f}", "signs.a: `says` names the unknown number then"),
        ("kind: change", "kind: chang", "signs.a.kind:"),
    ],
)
def test_a_sign_that_does_not_fit_is_named(tmp_path, right, wrong, named):
    (found,) = faults(tmp_path, SIGNS.replace(right, wrong), Signs)
    assert named in found


def test_a_sign_is_its_own_family_unless_it_names_one(tmp_path):
    file = tmp_path / "signs.yml"
    file.write_text(SIGNS, encoding="utf-8")
    assert Signs.read(file).by_code["a"].family == "a"


def test_a_part_that_cannot_count_is_refused(tmp_path):
    text = "parts:\n  a: {name: A, metric: m, weight: 1, zero: 1, full: 1, shown: .0f}\n"
    assert faults(tmp_path, text, Parts) == ["2: parts.a: zero and full are the same"]
