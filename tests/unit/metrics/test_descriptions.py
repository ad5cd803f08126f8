"""Whoever opens dbt's documentation finds a sentence at everything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jinja2
import jinja2.ext
import pytest

from tutor_pipeline.core.warehouse.database import Schemas
from tutor_pipeline.metrics import dbt
from tutor_pipeline.metrics.catalogue import metric_columns


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory, starts_something: None) -> Mapping[str, Any]:
    home = tmp_path_factory.mktemp("dbt")
    dbt.invoke(["parse"], dbt.parse_environment(Schemas(), home))
    text = (dbt.target_dir(home) / "manifest.json").read_text(encoding="utf-8")
    content: Mapping[str, Any] = json.loads(text)
    return content


def ours(nodes: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    found = [
        node
        for node in nodes.values()
        if node["package_name"] == "tutor_pipeline" and node["resource_type"] == kind
    ]
    assert found
    return found


def test_every_model_and_column_is_described(manifest: Mapping[str, Any]) -> None:
    for model in ours(manifest["nodes"], "model"):
        assert model["description"].strip(), model["name"]
        assert model["columns"], model["name"]
        for column in model["columns"].values():
            assert column["description"].strip(), (model["name"], column["name"])


def test_every_source_and_column_is_described(manifest: Mapping[str, Any]) -> None:
    for source in ours(manifest["sources"], "source"):
        assert source["description"].strip(), source["name"]
        for column in source["columns"].values():
            assert column["description"].strip(), (source["name"], column["name"])


def test_every_macro_and_argument_is_described(manifest: Mapping[str, Any]) -> None:
    for macro in ours(manifest["macros"], "macro"):
        assert macro["description"].strip(), macro["name"]
        described = {each["name"]: each["description"] for each in macro["arguments"]}
        assert list(described) == list(arguments(macro["macro_sql"])), macro["name"]
        assert all(text.strip() for text in described.values()), macro["name"]


def test_what_people_read_is_an_exposure(manifest: Mapping[str, Any]) -> None:
    exposures = {node["name"]: node for node in ours(manifest["exposures"], "exposure")}
    assert set(exposures) == {"attention", "messages", "report"}
    for exposure in exposures.values():
        assert exposure["description"].strip()
        assert exposure["owner"]["name"]
        assert exposure["depends_on"]["nodes"]


def test_history_has_the_columns_of_the_wide_row_without_its_evidence() -> None:
    columns = metric_columns()
    wide = columns["tutor_aggregates"]
    kept = [name for name, column in wide.items() if not column.type.endswith("[]")]
    history = columns["tutor_aggregates_history"]
    assert list(history) == kept
    assert [column.type for column in history.values()] == [wide[name].type for name in kept]


def arguments(macro_sql: str) -> Iterator[str]:
    """The names in the brackets of a macro; of a generic test, which is a block of dbt's own."""
    text = macro_sql.strip()
    if text.startswith("{% test "):
        text = text.replace("{% test ", "{% macro ", 1).replace("{% endtest %}", "{% endmacro %}")
    if text.startswith("{% materialization "):
        return
    environment = jinja2.Environment(extensions=[jinja2.ext.do], autoescape=True)
    for macro in environment.parse(text).find_all(jinja2.nodes.Macro):
        yield from (argument.name for argument in macro.args)
