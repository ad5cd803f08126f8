"""Cross-validation on anybody's table: as good as the truth allows, chance on noise, clear words
for what cannot be."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from typer.testing import CliRunner

from tutor_pipeline.cli.app import app
from tutor_pipeline.core.errors import RefusedError, TutorPipelineError, UsageError
from tutor_pipeline.judgement.scores import crossval
from tutor_pipeline.judgement.scores.crossval import cross_validate
from tutor_pipeline.judgement.scores.evaluation import SEED, Metric

pytestmark = pytest.mark.slow

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


# Against scikit-learn and against the truth


def auc_of(found, learner="logistic_regression"):
    return found.figures[learner][Metric.AUC].value


def plain(numbers, words, labels, groups=None, folds=5):
    """The AUC of scikit-learn's own pipeline in the same folds."""
    scaled = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    encoded = OneHotEncoder(handle_unknown="ignore")
    matrix = np.column_stack([numbers, *words]).astype(object)
    width = numbers.shape[1]
    pipeline = make_pipeline(
        make_column_transformer(
            (scaled, list(range(width))), (encoded, list(range(width, matrix.shape[1])))
        ),
        LogisticRegression(C=1.0, max_iter=2_000),
    )
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    scores = np.empty(len(labels))
    for train, test in kind(folds, shuffle=True, random_state=SEED).split(matrix, labels, groups):
        fitted = pipeline.fit(matrix[train], labels[train])
        scores[test] = fitted.predict_proba(matrix[test])[:, 1]
    return roc_auc_score(labels, scores)


def drawn(odds, rng):
    """Outcomes of a logistic truth, 30 % of them positive."""
    odds = odds - np.quantile(odds, 0.7)
    return rng.random(len(odds)) < 1 / (1 + np.exp(-odds)), odds


def skewed(rng, rows):
    pay, gap = np.exp(2 * rng.normal(size=rows)), rng.exponential(size=rows)
    calls = rng.poisson(0.4, rows).astype(float)
    numbers = np.column_stack([pay, gap, calls, rng.normal(size=rows)])
    return numbers, [], 0.12 * pay - 0.8 * gap + 0.9 * calls


def categorical(rng, rows):
    city, plan = rng.integers(0, 150, rows), rng.integers(0, 3, rows)
    numbers = rng.normal(size=(rows, 2))
    words = [np.array([f"c{n}" for n in city]), np.array(["a", "b", "c"])[plan]]
    effects = np.random.default_rng(1).normal(size=150)
    return numbers, words, effects[city] + 0.7 * (plan == 2) + 0.6 * numbers[:, 0]


def with_holes(rng, rows):
    numbers = rng.normal(size=(rows, 3))
    is_known = rng.random((rows, 2)) < 0.7
    odds = numbers[:, 0] * is_known[:, 0] + 1.2 * ~is_known[:, 0] - 0.8 * numbers[:, 2]
    numbers[:, :2][~is_known] = np.nan
    plan = np.array(["a", "b", ""])[rng.integers(0, 3, rows)]
    return numbers, [plan], odds + 0.8 * (plan == "b") + 1.2 * (plan == "")


KINDS = [skewed, categorical, with_holes]


def as_table(numbers, words, labels):
    columns = {
        f"n{place}": ["" if np.isnan(value) else repr(float(value)) for value in column]
        for place, column in enumerate(numbers.T)
    }
    columns |= {f"w{place}": list(map(str, column)) for place, column in enumerate(words)}
    return {**columns, "left": ["yes" if value else "no" for value in labels]}


@pytest.mark.parametrize("rows", [400, 4_000])
@pytest.mark.parametrize("kind", KINDS)
def test_the_regression_ranks_as_scikit_learns_does(kind, rows):
    rng = np.random.default_rng(4)
    numbers, words, odds = kind(rng, rows)
    labels, odds = drawn(odds, rng)
    reached = auc_of(cross_validate(as_table(numbers, words, labels), "left", replicates=0))
    assert reached == pytest.approx(plain(numbers, words, labels), abs=0.005)
    if rows == 4_000:
        assert reached == pytest.approx(roc_auc_score(labels, odds), abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_it_does_so_with_persons_kept_together(kind):
    rng = np.random.default_rng(6)
    numbers, words, odds = kind(rng, 1_200)
    labels, _ = drawn(odds, rng)
    persons = rng.integers(0, 300, 1_200)
    table = as_table(numbers, words, labels) | {"tutor_id": [f"T{n:03}" for n in persons]}
    reached = auc_of(cross_validate(table, "left", group="tutor_id", replicates=0))
    assert reached == pytest.approx(plain(numbers, words, labels, persons), abs=0.005)


def test_a_column_that_hardly_varies_in_training_decides_nothing(made):
    table = {**made[0], "odd": ["0.1"] * (ROWS - 1) + ["5"]}
    assert auc_of(cross_validate(table, "left", replicates=0)) == pytest.approx(
        auc_of(cross_validate(made[0], "left", replicates=0)), abs=0.005
    )


# What cells say


@pytest.mark.parametrize("cell", ["inf", "-inf", "1e400", "Infinity", "nan", "1e308"])
def test_an_infinite_cell_is_a_missing_cell(made, cell):
    table = {name: cells[:300] for name, cells in made[0].items()}
    with_it, without = (
        cross_validate({**table, "years": [first, *table["years"][1:]]}, "left", replicates=0)
        for first in (cell, "")
    )
    assert with_it == without
    assert "years" in with_it.columns


def test_classes_and_categories_are_the_same_however_they_are_written(made):
    table = {name: cells[:400] for name, cells in made[0].items()}
    written = {"Yes": ["Yes", "yes", "YES "], "No": ["No", " no", "No"]}
    varied = {
        name: [written.get(cell, [cell] * 3)[n % 3] for n, cell in enumerate(cells)]
        for name, cells in table.items()
    }
    ours, theirs = (cross_validate(each, "left", replicates=0) for each in (table, varied))
    assert ours.figures == theirs.figures
    assert theirs.positive.strip().lower() == "yes"
    assert cross_validate(varied, "left", positive=" YES", replicates=0).figures == ours.figures


def test_numbers_of_a_target_are_the_same_however_they_are_written(made):
    table = {name: cells[:400] for name, cells in made[0].items()}
    table["left"] = [
        (["1", "1.0", "01"] if cell == "Yes" else ["0", "0.0", "-0"])[n % 3]
        for n, cell in enumerate(table["left"])
    ]
    found = cross_validate(table, "left", replicates=0)
    assert float(found.positive) == 1
    assert cross_validate(table, "left", positive="1.00", replicates=0) == found
    assert cross_validate(table, "left", positive="0", replicates=0).positives == (
        400 - found.positives
    )


CELLS = ["", "NA", "inf", "1e400", "1e149", "-1e149", "1e-200", "0", "1", "1.0", "a", "A ", "sNaN"]


@given(st.data())
@settings(max_examples=25)
def test_whatever_the_cells_there_are_figures_or_clear_words(data):
    rows = data.draw(st.integers(0, 40))

    def column(cells):
        return data.draw(st.lists(st.sampled_from(cells), min_size=rows, max_size=rows))

    table = {name: column(CELLS) for name in ("x", "", "user_id")}
    table["left"] = column(["yes", "YES ", "no", ""])
    try:
        group = data.draw(st.sampled_from([None, "user_id"]))
        found = cross_validate(table, "left", group=group, folds=2, replicates=20)
    except TutorPipelineError:
        return
    for figures in found.figures.values():
        assert 0 <= figures[Metric.AUC].value <= 1


# Rows of one person


@pytest.fixture(scope="module")
def weekly():
    """Eight rows each of 120 persons: what is known of a person says nothing of who leaves, but
    says who it is.
    """
    rng = np.random.default_rng(11)
    person = rng.permutation(np.repeat(np.arange(120), 8))
    left = (rng.random(120) < 0.35)[person]
    columns = {f"trait{n}": rng.normal(size=120)[person] for n in range(3)}
    return {
        "student_id": [f"S{n}" for n in person],
        **{name: [f"{value:.4f}" for value in column] for name, column in columns.items()},
        "left": ["yes" if value else "no" for value in left],
    }


def test_a_person_known_from_training_is_not_asked_about(weekly):
    parted = cross_validate(weekly, "left")
    together = cross_validate(weekly, "left", group="student_id")
    assert auc_of(parted, "gradient_boosting") > 0.8
    assert auc_of(together, "gradient_boosting") < 0.6
    assert (together.group, together.groups) == ("student_id", 120)
    assert (parted.group, parted.groups) == (None, None)
    assert together.dropped["student_id"] == "the rows are grouped by it"


def test_persons_are_drawn_together(weekly):
    figures = [
        cross_validate(weekly, "left", group=group).figures["logistic_regression"][Metric.AUC]
        for group in (None, "student_id")
    ]
    alone, together = (figure.upper - figure.lower for figure in figures)
    assert together > 1.8 * alone  # eight rows each: by the square root of eight, about


@pytest.mark.parametrize("drop", [[], ["student_id"]])
def test_a_table_that_repeats_persons_is_warned_of(weekly, drop):
    (warning,) = cross_validate(weekly, "left", drop=drop, replicates=0).warnings
    assert "add --group student_id" in warning
    assert cross_validate(weekly, "left", group="student_id", replicates=0).warnings == ()


def test_a_table_that_repeats_nobody_is_not(found):
    assert found.warnings == ()


def test_rows_without_a_group_stand_alone_and_are_named(weekly):
    gaps = ["" if n < 16 else cell for n, cell in enumerate(weekly["student_id"])]
    found = cross_validate({**weekly, "student_id": gaps}, "left", group="student_id", replicates=0)
    assert found.groups == len(set(gaps) - {""}) + 16
    assert found.warnings == ("16 rows without student_id: each counts as a group of its own",)


def test_groups_of_one_row_change_nothing(made):
    table = {name: cells[:300] for name, cells in made[0].items()}
    found = cross_validate(table, "left", group="EmployeeNumber", replicates=0)
    assert found.warnings == ("EmployeeNumber differs in every row: --group changes nothing",)


@pytest.mark.parametrize(
    ("change", "options", "error", "says"),
    [
        ({}, {"group": "left"}, UsageError, "left is the target"),
        ({}, {"group": "student"}, UsageError, "no column student; did you mean student_id"),
        ({}, {"folds": 121}, RefusedError, "has 120 values: too few for 121 .* --folds 120 would"),
        (
            {"left": ["yes" if n == 0 else "no" for n in range(960)]},
            {"folds": 2},
            RefusedError,
            "only 1 of 960 rows is yes: too few for 2 folds.*there must be more of them",
        ),
    ],
)
def test_groups_that_cannot_be_are_said_clearly(weekly, change, options, error, says):
    with pytest.raises(error, match=says):
        cross_validate({**weekly, **change}, **{"target": "left", "group": "student_id", **options})


def test_a_class_that_lives_in_one_group_is_refused(weekly):
    left = ["yes" if cell == "S7" else "no" for cell in weekly["student_id"]]
    with pytest.raises(RefusedError, match="left = yes are of 1 of 120 student_id: too few for 5"):
        cross_validate({**weekly, "left": left}, "left", group="student_id")


# Sanity


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
        ({}, {"target": "city"}, UsageError, "city has 3 values .*Lima.* a target has two"),
        ({"left": ["Yes", "None"] * 750}, {}, RefusedError, "= Yes: .*None counts as empty"),
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


def written(path, table, delimiter=",", encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return str(path)


def test_the_command_prints_a_table_and_what_it_left_out(made, tmp_path):
    file = written(tmp_path / "t.csv", made[0], ";", "utf-8-sig")
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


def test_the_command_says_how_to_keep_a_persons_rows_together(weekly, tmp_path):
    command = ["scores", "crossval", "--csv", written(tmp_path / "t.csv", weekly), "--target"]
    plain = CliRunner().invoke(app, [*command, "left"])
    assert "add --group student_id" in plain.stderr
    grouped = CliRunner().invoke(app, [*command, "left", "--group", "student_id"])
    assert "960 rows of 120 student_id" in grouped.stdout
    assert grouped.stderr.strip() == ""
    document = json.loads(CliRunner().invoke(app, [*command, "left", "--json"]).stdout)
    assert "add --group student_id" in document["warnings"][0]


def test_no_cell_moves_the_terminal(made, tmp_path):
    table = {name: cells[:100] for name, cells in made[0].items()}
    table["left"] = ["\x1b[2Ja"] * 50 + ["b"] * 49 + ["[bold]c"]
    file = written(tmp_path / "t.csv", table)
    done = CliRunner().invoke(app, ["scores", "crossval", "--csv", file, "--target", "left"])
    assert "\x1b" not in str(done.exception)
    assert "\\u001b[2Ja, b, [bold]c" in str(done.exception)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (None, UsageError, "cannot be read"),
        (b"\xff\xfe\x00", RefusedError, "not text in UTF-8"),
        (b"a,b\n1\x00,2\n", RefusedError, "zero bytes"),
        (b"", RefusedError, "needs a header"),
        (b"just words\n", RefusedError, "needs a header"),
        (b"a,a\n1,2\n", RefusedError, "two columns called a"),
        (b"\xef\xbb\xbf", RefusedError, "is empty"),
        (b"a,b\n", RefusedError, "no row found"),
        (b"a;;b;\n1;2;3;4\n", RefusedError, "two columns without a name"),
        (b"a,b\n1,2\n1,2,3\n", RefusedError, "row 3 has 3 cells, the header 2"),
        (b"a,b\n\n1,2,3\n", RefusedError, "row 3 has 3 cells, the header 2"),
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


def test_a_column_that_knows_the_answer_is_named():
    """Copied from it, or told by how an order number ends; strong but honest ones are not."""
    rng = np.random.default_rng(2)
    left = rng.random(400) < 0.3
    table = {
        "left": ["yes" if each else "no" for each in left],
        "status": ["closed" if each else "open" for each in left],
        "order": [f"{rng.integers(10**6)}-{'X' if each else 'A'}" for each in left],
        "signal": [str(value) for value in left + rng.normal(0, 0.9, 400)],
        "noise": [str(value) for value in rng.normal(0, 1, 400)],
    }
    found = cross_validate(table, "left", replicates=20)
    told = [each for each in found.warnings if "may not have been known before" in each]
    assert [each.split()[0] for each in told] == ["status"]
    assert "--drop status" in told[0]
    assert "order" in found.dropped


def test_where_no_column_has_a_value_both_learners_say_the_base_rate():
    labels = np.array([True, False, False, False])
    nothing, asked = np.empty((4, 0)), np.empty((2, 0))
    assert crossval._boosting(nothing, labels, asked) == pytest.approx([0.25, 0.25])
    assert len(crossval._regression(nothing, labels, asked)) == 2
