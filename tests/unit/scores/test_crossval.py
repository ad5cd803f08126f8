"""Cross-validation on anybody's table: as good as the truth allows, chance on noise, clear words
for what cannot be."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from tutor_pipeline.cli.app import app
from tutor_pipeline.errors import RefusedError, TutorPipelineError, UsageError
from tutor_pipeline.scores.crossval import cross_validate
from tutor_pipeline.scores.evaluation import Metric

ROWS = 1_500
CITIES = ("Berlin", "Lima", "Oslo")


@pytest.fixture(scope="module")
def made():
    """A table, the AUC of who knows the true odds, and the labels."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=(ROWS, 3))
    city = rng.integers(0, 3, ROWS)
    overtime = rng.random(ROWS) < 0.3
    odds = -2 + x[:, 0] - 0.7 * x[:, 1] + 0.8 * (city == 1) + 1.2 * overtime
    left = rng.random(ROWS) < 1 / (1 + np.exp(-odds))
    missing = rng.random(ROWS) < 0.05
    table = {
        "EmployeeNumber": [str(n + 1) for n in range(ROWS)],
        "email": [f"p{n}@example.org" for n in range(ROWS)],
        "over18": ["Y"] * ROWS,
        "nothing": ["NA"] * ROWS,
        "pay": ["" if gap else f"{value:.4f}" for gap, value in zip(missing, x[:, 0], strict=True)],
        "years": [f"{value:.4f}" for value in x[:, 1]],
        "noise": [f"{value:.4f}" for value in x[:, 2]],
        "city": [CITIES[n] for n in city],
        "overtime": ["Yes" if value else "No" for value in overtime],
        "left": ["Yes" if value else "No" for value in left],
    }
    return table, roc_auc_score(left, odds), left


@pytest.fixture(scope="module")
def found(made):
    return cross_validate(made[0], "left")


def test_as_good_as_the_truth_allows(found, made):
    ceiling = made[1]
    auc = found.figures["logistic_regression"][Metric.AUC]
    assert ceiling > 0.75
    assert auc.lower <= ceiling - 0.01 <= auc.upper
    assert auc.value <= ceiling + 0.01
    slope = found.figures["logistic_regression"][Metric.CALIBRATION_SLOPE]
    assert slope.lower <= 1 <= slope.upper
    assert found.figures["gradient_boosting"][Metric.AUC].value > ceiling - 0.05


def test_every_figure_has_an_interval(found):
    for figures in found.figures.values():
        assert all(each.lower <= each.value <= each.upper for each in figures.values())


def test_what_the_table_is(found, made):
    assert (found.rows, found.positives, found.positive, found.negative) == (
        ROWS,
        int(made[2].sum()),
        "Yes",
        "No",
    )
    assert found.columns == ("pay", "years", "noise", "city", "overtime")
    assert found.dropped["EmployeeNumber"].startswith("looks like an id")
    assert found.dropped["email"].startswith("looks like an id or free text")
    assert found.dropped["over18"] == "the same in every row"
    assert found.dropped["nothing"] == "empty"


def test_noise_is_noise(made):
    table, _, left = made
    reached = []
    for seed in range(4):
        shuffled = np.random.default_rng(seed).permutation(left)
        noise = {**table, "left": ["1" if value else "0" for value in shuffled]}
        figures = cross_validate(noise, "left", replicates=0).figures
        reached.append([each[Metric.AUC].value for each in figures.values()])
    assert np.mean(reached, axis=0) == pytest.approx(0.5, abs=0.03)


def test_the_other_value_turns_the_forecast_around(made, found):
    other = cross_validate(made[0], "left", positive="No", replicates=0)
    assert (other.positive, other.positives) == ("No", ROWS - found.positives)
    ours, theirs = (
        each.figures["logistic_regression"][Metric.AUC].value for each in (found, other)
    )
    assert ours == pytest.approx(theirs, abs=0.005)


def test_a_column_that_gives_the_target_away_can_be_dropped(made):
    table = {**made[0], "exit_interview": made[0]["left"]}
    with_it = cross_validate(table, "left", replicates=0)
    without = cross_validate(table, "left", drop=["exit_interview"], replicates=0)
    assert with_it.figures["logistic_regression"][Metric.AUC].value > 0.99
    assert without.figures["logistic_regression"][Metric.AUC].value < 0.9
    assert without.dropped["exit_interview"] == "asked for"


def test_rows_without_a_target_are_left_out(made):
    table = {name: cells[:300] for name, cells in made[0].items()}
    table["left"] = ["" if n < 20 else cell for n, cell in enumerate(table["left"])]
    found = cross_validate(table, "left", replicates=0)
    assert (found.rows, found.unknown) == (280, 20)


@pytest.mark.parametrize(
    ("change", "options", "error", "says"),
    [
        ({}, {"target": "lift"}, UsageError, "no column lift; did you mean left?"),
        ({}, {"drop": ["payy"]}, UsageError, "no column payy; did you mean pay?"),
        ({}, {"drop": ["left"]}, UsageError, "cannot be dropped"),
        ({}, {"target": "city"}, UsageError, "city has 3 values"),
        ({}, {"positive": "so"}, UsageError, "no row has left = so; it has No, Yes"),
        ({}, {"folds": 1}, UsageError, "at least 2"),
        ({"left": ["No"] * ROWS}, {}, RefusedError, "every row has left = No"),
        ({"left": [""] * ROWS}, {}, RefusedError, "left is empty in every row"),
        ({"left": ["Yes"] * 3 + ["No"] * (ROWS - 3)}, {}, RefusedError, "only 3 of 1,500 rows"),
    ],
)
def test_what_cannot_be_is_said_clearly(made, change, options, error, says):
    with pytest.raises(error, match=says.replace("?", r"\?")):
        cross_validate({**made[0], **change}, **{"target": "left", **options})


def test_nothing_to_learn_from_is_refused(made):
    table = {name: made[0][name] for name in ("EmployeeNumber", "over18", "left")}
    with pytest.raises(RefusedError, match=r"no column is left .*EmployeeNumber: looks like an id"):
        cross_validate(table, "left")


# The command


def written(path, table, delimiter=","):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return str(path)


def test_the_command_prints_a_table_and_what_it_left_out(made, tmp_path):
    file = written(tmp_path / "t.csv", made[0], ";")
    done = CliRunner().invoke(app, ["scores", "crossval", "--csv", file, "--target", "left"])
    assert done.exit_code == 0, done.output
    assert "1,500 rows" in done.stdout
    assert "AUC (ranks right)" in done.stdout
    assert "column EmployeeNumber is not used" in done.stderr


def test_the_command_speaks_json(made, found, tmp_path):
    file = written(tmp_path / "t.csv", made[0])
    done = CliRunner().invoke(
        app, ["scores", "crossval", "--csv", file, "--target", "left", "--json"]
    )
    document = json.loads(done.stdout)
    ours = found.figures["logistic_regression"][Metric.AUC]
    assert document["figures"]["logistic_regression"]["auc"] == {
        "value": ours.value,
        "lower": ours.lower,
        "upper": ours.upper,
    }


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (None, UsageError, "cannot be read"),
        (b"\xff\xfe\x00", RefusedError, "not text in UTF-8"),
        (b"a,b\n1\x00,2\n", RefusedError, "zero bytes"),
        (b"", RefusedError, "needs a header"),
        (b"just words\n", RefusedError, "needs a header"),
        (b"a,a\n1,2\n", RefusedError, "two columns called a"),
        (b"a,b\n1,2\n1,2,3\n", RefusedError, "row 3 has 3 cells, the header 2"),
        (b'a,b\n"1,2\n', RefusedError, "no CSV file"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, error, says):
    file = tmp_path / "t.csv"
    if content is not None:
        file.write_bytes(content)
    done = CliRunner().invoke(app, ["scores", "crossval", "--csv", str(file), "--target", "a"])
    assert isinstance(done.exception, TutorPipelineError)
    assert isinstance(done.exception, error)
    assert says in str(done.exception)
