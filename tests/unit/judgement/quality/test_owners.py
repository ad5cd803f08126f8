"""Each rule has one owner: PostgreSQL, dbt or a suite, and stands there once."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.judgement.quality.suites import QUERY, Check, Suite


@dataclass(frozen=True, slots=True)
class Rule:
    """That something of a kind holds of columns of a relation (`<schema>/<table>`), who says so
    where, and the rest of it as text (bounds, values, the SQL).
    """

    relation: str
    kind: str
    columns: tuple[str, ...]
    owner: str
    where: str
    details: str = ""


def doubles(rules: Iterable[Rule]) -> list[str]:
    """The rules that stand in two places: of two owners whatever the details, of one owner with
    the same details.
    """
    found = []
    alike: dict[tuple[str, str, tuple[str, ...]], list[Rule]] = defaultdict(list)
    for rule in rules:
        key = (rule.relation, rule.kind, tuple(sorted(rule.columns)))
        for other in alike[key]:
            if other.owner != rule.owner or other.details == rule.details:
                what = f"{rule.relation} {rule.kind} {', '.join(rule.columns)}".rstrip()
                found.append(f"{what}: {other.owner} {other.where}, {rule.owner} {rule.where}")
        alike[key].append(rule)
    return found


# What suites say ---------------------------------------------------------------------------------

_KINDS = {
    "expect_column_values_to_not_be_null": "not null",
    "expect_column_values_to_be_unique": "unique",
    "expect_compound_columns_to_be_unique": "unique",
    "expect_column_values_to_be_in_set": "values",
    "expect_column_values_to_be_between": "range",
}
_ONLY_RANGES = re.compile(r"where not \w+ between \S+ and \S+( or not \w+ between \S+ and \S+)*$")


def of_suites(suites: Iterable[Suite]) -> Iterator[Rule]:
    for suite in suites:
        for check in suite.checks:
            yield from _of_check(suite, check)


def _of_check(suite: Suite, check: Check) -> Iterator[Rule]:
    where = f"{suite.name}.yml: {check.name}"
    kwargs = dict(check.kwargs)
    if check.is_query:
        query = " ".join(kwargs.pop(QUERY).split())
        yield Rule("", "sql", (), "suite", where, f"{query} {sorted(kwargs.items())}")
        # SQL that is about nothing but ranges of columns is read as such.
        if _ONLY_RANGES.search(query):
            for column, bounds in re.findall(r"not (\w+) between (\S+ and \S+)", query):
                yield Rule(suite.asset, "range", (column,), "suite", where, bounds)
        return
    columns = (
        (kwargs.pop("column"),) if "column" in kwargs else tuple(kwargs.pop("column_list", ()))
    )
    kind = _KINDS.get(check.expectation, check.expectation)
    if kind == "range":
        details = f"{kwargs.pop('min_value', None)} and {kwargs.pop('max_value', None)}"
    else:
        details = ""
    yield Rule(suite.asset, kind, columns, "suite", where, f"{details}{kwargs or ''}")


# What dbt says -----------------------------------------------------------------------------------

_DBT_KINDS = {
    "not_null": "not null",
    "unique": "unique",
    "unique_combination": "unique",
    "accepted_values": "values",
    "relationships": "reference",
    "primary_key": "unique",
    "foreign_key": "reference",
}


def of_dbt(manifest: Mapping[str, Any]) -> Iterator[Rule]:
    """Data tests, and the constraints of models."""
    nodes = manifest["nodes"]
    for node in nodes.values():
        if node["resource_type"] == "model":
            relation = _relation(node)
            for constraint in node.get("constraints", ()):
                yield _constraint(relation, constraint, tuple(constraint.get("columns", ())))
            for name, column in node["columns"].items():
                for constraint in column.get("constraints", ()):
                    yield _constraint(relation, constraint, (name,))
        elif node["resource_type"] == "test" and node.get("test_metadata"):
            kwargs = dict(node["test_metadata"]["kwargs"])
            kwargs.pop("model", None)
            column = kwargs.pop("column_name", None)
            columns = (column,) if column else tuple(kwargs.pop("columns", ()))
            kind = node["test_metadata"]["name"]
            relation = _relation(nodes[node["attached_node"]])
            details = str(sorted(kwargs.items())) if kwargs else ""
            yield Rule(relation, _DBT_KINDS.get(kind, kind), columns, "dbt", node["name"], details)


def _relation(node: Mapping[str, Any]) -> str:
    return f"{node['config']['schema']}/{node['name']}"


def _constraint(relation: str, constraint: Mapping[str, Any], columns: tuple[str, ...]) -> Rule:
    kind = constraint["type"]
    return Rule(
        relation, _DBT_KINDS.get(kind, kind), columns, "dbt", "contract",
        constraint.get("expression") or "",
    )  # fmt: skip


# What PostgreSQL says ----------------------------------------------------------------------------


def of_postgresql(warehouse: Warehouse) -> Iterator[Rule]:
    """NOT NULL, unique indexes, foreign keys and CHECKs of one column, of the tables in `ops`."""
    with warehouse.connect() as database:
        not_null = database.execute(
            "select relname, attname from pg_attribute"
            " inner join pg_class on pg_class.oid = attrelid and relkind = 'r'"
            " where relnamespace = to_regnamespace(%s) and attnum > 0 and attnotnull",
            (warehouse.schemas.ops,),
        ).fetchall()
        indexes = database.execute(
            "select pg_class.relname, indexrelid::regclass::text,"
            " array(select attname::text from unnest(indkey) with ordinality as key (no, place)"
            " inner join pg_attribute on attrelid = indrelid and attnum = key.no order by place),"
            " coalesce(pg_get_expr(indpred, indrelid), '')"
            " from pg_index inner join pg_class on pg_class.oid = indrelid and relkind = 'r'"
            " where relnamespace = to_regnamespace(%s) and indisunique",
            (warehouse.schemas.ops,),
        ).fetchall()
        constraints = database.execute(
            "select relname, conname, contype::text, pg_get_constraintdef(pg_constraint.oid),"
            " array(select attname::text from pg_attribute"
            " where attrelid = conrelid and attnum = any(conkey) order by attnum)"
            " from pg_constraint inner join pg_class on pg_class.oid = conrelid"
            " where connamespace = to_regnamespace(%s) and contype in ('c', 'f')",
            (warehouse.schemas.ops,),
        ).fetchall()
    for table, column in not_null:
        yield Rule(f"ops/{table}", "not null", (column,), "PostgreSQL", "NOT NULL")
    for table, index, columns, predicate in indexes:
        yield Rule(f"ops/{table}", "unique", tuple(columns), "PostgreSQL", index, predicate)
    for table, name, contype, definition, columns in constraints:
        kind = "reference" if contype == "f" else _kind_of(definition)
        yield Rule(f"ops/{table}", kind, tuple(columns), "PostgreSQL", name, definition)


def _kind_of(definition: str) -> str:
    if "= ANY (ARRAY[" in definition:
        return "values"
    # A comparison of the column itself, not of what a function makes of it.
    return "range" if re.match(r"CHECK \(+\w+ [<>]", definition) else "check"


# The tests ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rules(suites: Sequence[Suite], manifest: Mapping[str, Any], warehouse: Warehouse) -> list[Rule]:
    return [*of_suites(suites), *of_dbt(manifest), *of_postgresql(warehouse)]


def test_each_rule_has_one_owner(rules: Sequence[Rule]) -> None:
    assert doubles(rules) == []


@pytest.mark.parametrize(
    ("relation", "kind", "columns", "owner"),
    [
        ("marts/fct_sessions", "unique", ("tutor_id", "session_id"), "dbt"),
        ("marts/fct_sessions", "not null", ("session_id",), "dbt"),
        ("marts/fct_sessions", "not null", ("tutor_id",), "dbt"),
        ("marts/tutor_aggregates", "unique", ("tutor_id",), "dbt"),
        ("marts/fct_sessions", "reference", ("tutor_id",), "dbt"),
        ("marts/fct_sessions", "values", ("status",), "suite"),
        ("marts/fct_sessions", "range", ("tutor_talk_ratio",), "suite"),
        ("marts/tutor_aggregates", "range", ("late_rate_30d",), "suite"),
        ("ops/quarantine", "not null", ("resolved_at",), "suite"),
        ("ops/quarantine", "not null", ("row_key",), "PostgreSQL"),
        ("ops/quarantine", "unique", ("source", "row_key"), "PostgreSQL"),
        (
            "ops/alerts",
            "unique",
            ("tutor_id", "subject_kind", "subject_id", "alert_type"),
            "PostgreSQL",
        ),
        ("ops/alerts", "values", ("severity",), "PostgreSQL"),
        ("ops/alerts", "range", ("occurrence",), "PostgreSQL"),
        ("ops/current_tutor_risk", "values", ("level",), "PostgreSQL"),
        ("ops/current_tutor_risk", "range", ("score",), "PostgreSQL"),
    ],
)
def test_owners_are_found(
    rules: Sequence[Rule], relation: str, kind: str, columns: tuple[str, ...], owner: str
) -> None:
    """What the test above would not see, it could not find twice."""
    key = (relation, kind, columns)
    assert {rule.owner for rule in rules if (rule.relation, rule.kind, rule.columns) == key} == {
        owner
    }


def planted(expectation: str, asset: str = "marts/fct_sessions", **kwargs: Any) -> list[Rule]:
    """A suite with one check more, as rules."""
    check = Check.model_construct(
        name="planted",
        says="It holds.",
        expectation=expectation,
        kwargs=kwargs,
        severity="error",
        blocking=True,
    )
    planted = Suite.model_construct(
        name="planted",
        asset=asset,
        about="About.",
        keys=("tutor_id",),
        checks=(check,),
    )
    return list(of_suites([planted]))


@pytest.mark.parametrize(
    ("expectation", "kwargs", "other"),
    [
        ("expect_column_values_to_not_be_null", {"column": "session_id"}, "dbt"),
        ("expect_column_values_to_not_be_null", {"column": "tutor_id"}, "dbt contract"),
        (
            "expect_compound_columns_to_be_unique",
            {"column_list": ["session_id", "tutor_id"]},
            "dbt",
        ),
        (
            "expect_column_values_to_be_unique",
            {"column": "tutor_id", "asset": "marts/dim_tutors"},
            "dbt",
        ),
        (
            "expect_column_values_to_not_be_null",
            {"column": "reasons", "asset": "ops/quarantine"},
            "PostgreSQL NOT NULL",
        ),
        (
            "expect_column_values_to_be_in_set",
            {"column": "level", "value_set": ["Low"], "asset": "ops/current_tutor_risk"},
            "PostgreSQL",
        ),
        (
            "expect_column_values_to_be_between",
            {"column": "students", "min_value": 0, "asset": "ops/tutor_student_churn"},
            "PostgreSQL",
        ),
        (
            "expect_query_to_return_no_rows",
            {
                "query": "select tutor_id from {ops}.current_tutor_risk"
                " where not score between 0 and 1",
                "asset": "ops/current_tutor_risk",
            },
            "PostgreSQL",
        ),
        (
            "expect_column_values_to_be_between",
            {"column": "empathy_score", "max_value": 10, "min_value": 0},
            "suite sessions.yml: empathy_lies_in_0_to_10",
        ),
        (
            "expect_column_values_to_be_between",
            {
                "column": "late_rate_30d",
                "max_value": 1,
                "min_value": 0,
                "asset": "marts/tutor_aggregates",
            },
            "suite tutor_aggregates.yml: rate_lies_in_0_to_1",
        ),
        (
            "expect_query_to_return_no_rows",
            {
                "query": "select tutor_id, session_id, actual_duration_minutes\n"
                "  from {marts}.fct_sessions\n where   status = 'completed'"
                " and not actual_duration_minutes between 5 and 300\n"
            },
            "suite sessions.yml: duration_is_usual",
        ),
        (
            "expect_table_row_count_to_be_between",
            {"min_value": 1},
            "suite sessions.yml: there_are_sessions",
        ),
    ],
)
def test_a_planted_double_is_found(
    rules: Sequence[Rule], expectation: str, kwargs: dict[str, Any], other: str
) -> None:
    found = doubles([*rules, *planted(expectation, **kwargs)])
    assert len(found) == 1
    assert other in found[0]
    assert found[0].endswith("suite planted.yml: planted")


@pytest.mark.parametrize(
    ("expectation", "kwargs"),
    [
        ("expect_column_values_to_not_be_null", {"column": "student_id"}),
        ("expect_column_values_to_be_unique", {"column": "updated_at"}),
        (
            "expect_column_values_to_be_between",
            {"column": "empathy_score", "min_value": 3, "max_value": 10},
        ),
        ("expect_table_row_count_to_be_between", {"min_value": 100}),
    ],
)
def test_another_rule_is_no_double(
    rules: Sequence[Rule], expectation: str, kwargs: dict[str, Any]
) -> None:
    assert doubles([*rules, *planted(expectation, **kwargs)]) == []


def test_a_double_within_dbt_is_found(rules: Sequence[Rule], manifest: Mapping[str, Any]) -> None:
    """A test on the column that the contract already keeps."""
    nodes = manifest["nodes"]
    (model,) = [key for key, node in nodes.items() if node["name"] == "fct_sessions"]
    (test,) = [node for node in nodes.values() if node["name"] == "session_has_its_id"]
    kwargs = {**test["test_metadata"]["kwargs"], "column_name": "tutor_id"}
    twin = {**test, "name": "twin", "test_metadata": {"name": "not_null", "kwargs": kwargs}}
    more = of_dbt({"nodes": {model: nodes[model], "twin": twin}})
    assert len(doubles(more)) == 1


def test_what_two_rules_have_in_common() -> None:
    one = Rule("marts/a", "range", ("x",), "suite", "here", "0 and 1")
    assert doubles([one]) == []
    for other, is_double in (
        (Rule("marts/a", "range", ("x",), "suite", "there", "0 and 1"), True),
        (Rule("marts/a", "range", ("x",), "suite", "there", "0 and 2"), False),
        (Rule("marts/a", "range", ("x",), "dbt", "there", "0 and 2"), True),
        (Rule("marts/b", "range", ("x",), "dbt", "there", "0 and 1"), False),
        (Rule("marts/a", "values", ("x",), "dbt", "there", "0 and 1"), False),
        (Rule("marts/a", "range", ("y",), "dbt", "there", "0 and 1"), False),
    ):
        assert bool(doubles([one, other])) is is_double, other
