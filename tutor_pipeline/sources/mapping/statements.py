"""Parses the SQL of a mapping, and writes it again as one spelling.

What a person wrote is never pasted: it is parsed, refused if it could change anything, and what is
run is written from the parsed tree, with every name quoted. Names follow PostgreSQL's rule: without
double quotes they are lower case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

from tutor_pipeline.core.warehouse.platform_source import literal

_DIALECT = "postgres"
_WRITES = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock)
_PARAMETERS = (exp.Parameter, exp.Placeholder, exp.SessionParameter)
_NO_SCALAR = {
    exp.AggFunc: "an aggregate function: write it in a query",
    exp.Window: "a window function: write it in a query",
    exp.Query: "a SELECT: write it in a query",
    exp.Star: "a *: name the columns",
}


@dataclass(frozen=True, slots=True)
class ParsedExpression:
    """`text`: as it is run. `columns`: the columns of the relation that it names."""

    text: str
    columns: frozenset[str]
    functions: frozenset[str]


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """`outputs`: its columns in order. `tables`: (schema or None, table) that it reads."""

    tree: exp.Query
    outputs: tuple[str, ...]
    tables: tuple[tuple[str | None, str], ...]
    functions: frozenset[str]

    def text(self, schema: str) -> str:
        """Returns the query as it is run. Tables without a schema are those of `schema`."""
        tree = self.tree.copy()
        for table in list(_tables(tree)):
            if not table.args.get("db"):
                table.set("db", exp.to_identifier(schema, quoted=True))
        return _written(tree)


def parse_expression(text: str) -> ParsedExpression:
    """Returns a scalar expression. Raises ValueError that says what is wrong."""
    tree = _parsed(text, "expression")
    if not _is_scalar(tree):
        raise ValueError(f"it must be an expression that only reads, not {tree.key.upper()}")
    for kind, named in _NO_SCALAR.items():
        if tree.find(kind):
            raise ValueError(f"an expression of one row's columns takes no {named[2:].lstrip()}")
    columns = set()
    for column in tree.find_all(exp.Column):
        if column.args.get("table"):
            raise ValueError(f"write {column.name} without {column.text('table')}.")
        columns.add(column.name)
    return ParsedExpression(_written(tree), frozenset(columns), frozenset(_functions(tree)))


def parse_query(text: str) -> ParsedQuery:
    """Returns one SELECT. Raises ValueError that says what is wrong."""
    tree = _parsed(text, "SELECT")
    if not isinstance(tree, exp.Query):
        raise ValueError(f"it must be one SELECT, not {tree.key.upper()}")
    written = tree.find(*_WRITES)
    if written is not None:
        what = {exp.Lock: "FOR UPDATE", exp.Into: "INTO"}.get(type(written), written.key.upper())
        raise ValueError(f"it must only read, but it has {what}")
    outputs = tuple(tree.named_selects)
    if "*" in outputs or not outputs:
        raise ValueError("name the columns instead of *")
    for number, output in enumerate(tree.selects, 1):
        if not isinstance(output, exp.Alias | exp.Column):
            raise ValueError(f"its column {number} has no name: write … as name")
    twice = next((name for name in outputs if outputs.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two of its columns are called {twice}")
    query = ParsedQuery(
        tree,
        outputs,
        tuple(dict.fromkeys((table.text("db") or None, table.name) for table in _tables(tree))),
        frozenset(_functions(tree)),
    )
    query.text("platform")
    return query


def _parsed(text: str, what: str) -> Any:
    try:
        trees = [tree for tree in sqlglot.parse(text, read=_DIALECT) if tree is not None]
    except SqlglotError as error:
        said = error.errors[0] if getattr(error, "errors", None) else {}
        near = f" near {said['highlight']!r}" if said.get("highlight") else ""
        raise ValueError(f"this is no {what}{near}: {said.get('description', error)}") from error
    except RecursionError as error:
        raise ValueError(f"this {what} is nested too deep") from error
    if len(trees) != 1 or isinstance(trees[0], exp.Block):
        raise ValueError(f"it must be one {what}" if trees else f"there is no {what}")
    for parameter in trees[0].find_all(*_PARAMETERS):
        raise ValueError(f"it has a parameter, {parameter.sql(_DIALECT)}; nothing can be given")
    return normalize_identifiers(trees[0], dialect=_DIALECT)


def _is_scalar(tree: exp.Expression) -> bool:
    if isinstance(tree, exp.Query):
        return True  # refused below, with what to do
    try:
        (only,) = sqlglot.parse(f"select ({tree.sql(_DIALECT)})", read=_DIALECT)
    except (SqlglotError, ValueError):
        return False
    return isinstance(only, exp.Select) and isinstance(only.selects[0], exp.Paren)


def _tables(tree: exp.Expression) -> Iterator[exp.Table]:
    """The tables that are no part of the query itself (WITH) and no functions."""
    own = {each.alias for each in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and (
            table.args.get("db") or table.name not in own
        ):
            yield table


def _functions(tree: exp.Expression) -> Iterator[str]:
    for function in tree.find_all(exp.Func):
        if isinstance(function, exp.Anonymous):
            yield function.name.lower()
        elif found := re.match(r"\s*(\w+)\s*\(", function.sql(_DIALECT)):
            yield found[1].lower()


def _written(tree: exp.Expression) -> str:
    """Returns the text of a tree without a percent sign: psycopg would take it for a parameter."""
    text: str = tree.transform(_without_percent).sql(_DIALECT, identify=True, comments=False)
    if "%" in text:
        raise ValueError("it has a % outside of a text in single quotes, which cannot be read")
    return text


def _without_percent(node: exp.Expression) -> exp.Expression:
    if isinstance(node, exp.Literal) and node.is_string and "%" in node.this:
        return exp.Var(this=literal(node.this))
    if isinstance(node, exp.Mod):
        return exp.Anonymous(this="mod", expressions=[node.this, node.expression])
    return node
