"""The platform contract as Python reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.yaml_models import read_yaml
from tutor_pipeline.sources.contract import Column, Contract, load_contract
from tutor_pipeline.sources.csv import format as csv_format_file
from tutor_pipeline.sources.csv.format import CsvFormat, csv_format
from tutor_pipeline.sources.platform_check import READABLE

SOURCES = Path(__file__).parents[3] / "dbt_project/models/staging/_platform__sources.yml"
CONTRACT = """
sources:
  - name: other
  - name: platform
    tables:
      - name: sessions
        description: Lessons.
        config: {meta: {required: true, costs: nothing works}}
        columns:
          - name: score
            data_type: double precision
            description: A score.
            config: {meta: {required: false, costs: it is unknown, minimum: 0, maximum: 10}}
"""


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract(SOURCES)


def test_a_contract_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sources.yml"
    path.write_text(CONTRACT)
    (table,) = load_contract(path).tables
    assert (table.name, table.required, table.costs) == ("sessions", True, "nothing works")
    assert table.columns == (
        Column(
            name="score",
            type="double precision",
            required=False,
            minimum=0,
            maximum=10,
            costs="it is unknown",
            description="A score.",
        ),
    )


@pytest.mark.parametrize("text", ["", "sources: []", "a: [", CONTRACT.replace("costs", "cost")])
def test_what_is_no_contract_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sources.yml"
    path.write_text(text)
    with pytest.raises(TutorPipelineError, match="no platform contract"):
        load_contract(path)
    with pytest.raises(TutorPipelineError, match="cannot read"):
        load_contract(tmp_path / "missing.yml")


def test_what_is_wrong_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "sources.yml"
    path.write_text(CONTRACT.replace("data_type: double precision", "data_tipe: double precision"))
    with pytest.raises(TutorPipelineError, match=r"line 10: .*data_type: is missing"):
        load_contract(path)


def test_a_key_that_the_format_does_not_know_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "format.yml"
    text = Path(csv_format_file.__file__).with_name("format.yml").read_text()
    path.write_text(text.replace("{type: id, required: true}", "{type: id, requird: true}", 1))
    with pytest.raises(
        TutorPipelineError,
        match=r"line \d+: .*requird: there is no such key; did you mean required\?",
    ):
        read_yaml(path, CsvFormat, "CSV format")


def test_only_sessions_is_required_with_four_columns(contract: Contract) -> None:
    assert [table.name for table in contract.tables if table.required] == ["sessions"]
    sessions = contract.table("sessions")
    required = {column.name for column in sessions.columns if column.required}
    assert required == {"id", "tutor_id", "scheduled_start", "status"}


def test_everything_says_what_it_costs_and_has_a_type(contract: Contract) -> None:
    for table in contract.tables:
        assert table.costs or table.name == "session_students"
        for column in table.columns:
            assert column.costs, (table.name, column.name)
            assert column.type == "text" or column.type in READABLE


def test_the_csv_format_fills_only_the_contract_and_within_its_bounds(contract: Contract) -> None:
    """What an import lets in must not be bad again when it is read from the platform."""
    compared = 0
    for file in csv_format().files:
        columns = {column.name: column for column in file.columns}
        for target in file.targets:
            table = contract.table(target.table)
            for name, expression in target.columns.items():
                wanted = table.column(name)
                column = columns.get(expression.strip('"'))
                if column is None:
                    continue
                scale = 100 if column.type == "percent" else 1
                if wanted.minimum is not None:
                    assert column.minimum is not None, (file.name, name)
                    assert column.minimum / scale >= wanted.minimum, (file.name, name)
                if wanted.maximum is not None:
                    assert column.maximum is not None, (file.name, name)
                    assert column.maximum / scale <= wanted.maximum, (file.name, name)
                assert set(column.accepted) <= set(wanted.accepted), (file.name, name)
                assert bool(column.accepted) == bool(wanted.accepted), (file.name, name)
                compared += 1
    assert compared > 60


def test_the_documentation_lists_every_file_and_column() -> None:
    text = (Path(__file__).parents[3] / "docs/csv-format.md").read_text()
    for file in csv_format().files:
        section = text.split(f"### {file.name}", 1)[1].split("\n#", 1)[0]
        listed = [line.split("|")[1].strip() for line in section.splitlines() if "|" in line]
        assert listed[2:] == [column.name for column in file.columns], file.name
