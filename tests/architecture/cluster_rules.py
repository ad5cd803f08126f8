"""What a cluster (Citus) refuses or silently does otherwise, as rules on the text of SQL.

Each is a pure function from a text to what breaks the rule in it. Beside them: where the project's
SQL stands, as texts. Texts with placeholders go through `plain` first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import sqlglot
from sqlglot import exp

from tutor_pipeline.core.warehouse.migrations.helpers import statements_of

UNKNOWN = "__"
"""How a name ends that is filled in later."""

_TEXT = r"'(?:[^']|'')*'"
_COMMENT = re.compile(rf'({_TEXT}|"[^"]*")|--[^\n]*|/\*.*?\*/', re.S)
_PLACEHOLDER = re.compile(
    rf"(?P<text>{_TEXT})|\{{+(?P<name>\w*)\}}+|(?P<percent>%%)|%\(\w+\)s|%s", re.S
)
_SCHEMAS = {"ops", "marts", "intermediate", "staging", "platform", "truth"}
_STATEMENT = re.compile(
    r"\s*\(?\s*(select|insert|update|delete|with|create|alter|drop|comment|truncate|do|copy)\b",
    re.I,
)
# What a table is, is changed by these; a view on it, or a table made of its rows, changes nothing.
_DDL = re.compile(
    r"\s*(create\s+(unique\s+)?index|alter|drop\s+table|comment\s+on\s+(table|column)|truncate)\b",
    re.I,
)


def without_comments(text: str) -> str:
    """SQL without its comments."""
    return _COMMENT.sub(lambda found: found[1] or " ", text)


def plain(text: str) -> str:
    """SQL without comments, with a name for each placeholder of a name (`{ops}`, `{table}`) and a
    parameter `$1` for each of a value (`%s`, `%(now)s`).
    """

    def filled(found: re.Match[str]) -> str:
        if found["text"]:
            return found[0]
        if found["name"] is not None:
            return found["name"] if found["name"] in _SCHEMAS else found["name"] + UNKNOWN
        return "%" if found["percent"] else "$1"

    return _PLACEHOLDER.sub(filled, without_comments(text))


def is_statement(text: str) -> bool:
    return _STATEMENT.match(text) is not None


# -- the rules -----------------------------------------------------------------------------------


def mixed_with_ddl(text: str, distributed: Collection[str]) -> list[str]:
    """Strings of several statements of which one changes the shape of a distributed table. One
    that the same string has made is not distributed yet.
    """
    statements = list(statements_of(text))
    if len(statements) < 2:
        return []
    made = {name for each in statements if (name := _made(each))}
    return [
        each for each in statements if _DDL.match(each) and (_names(each) & set(distributed)) - made
    ]


def empty_select_lists(text: str) -> list[str]:
    """`select from`, `select where`, `(select)`."""
    bare = re.sub(_TEXT, "''", text)
    return re.findall(r"\bselect\s*(?:\bfrom\b|\bwhere\b|\blimit\b|\))", bare, re.I)


def parameters_in_conflict_conditions(text: str) -> list[str]:
    """A parameter in the WHERE of an ON CONFLICT, or in one that says which index is meant."""
    conditions = [
        re.split(r"\bdo\s+(?:update|nothing)\b|\breturning\b", condition, flags=re.I)[0]
        for statement in statements_of(text)
        for clause in re.split(r"\bon\s+conflict\b", re.sub(_TEXT, "''", statement), flags=re.I)[1:]
        for condition in re.split(r"\bwhere\b", clause, flags=re.I)[1:]
    ]
    return [each.strip() for each in conditions if re.search(r"\$\d", each)]


def constraints_not_alone(text: str, distributed: Collection[str]) -> list[str]:
    """ALTER TABLEs of a distributed table that add a constraint beside something else, or within
    a new column.
    """
    found = []
    for statement in statements_of(text):
        bare = re.sub(_TEXT, "''", statement)
        if not re.match(r"\s*alter\s+table\b", bare, re.I) or not _names(bare) & set(distributed):
            continue
        while "(" in bare and bare != (flat := re.sub(r"\([^()]*\)", " ", bare)):
            bare = flat
        actions = bare.split(",")
        added = [each for each in actions if re.search(r"\badd\s+(constraint|check)\b", each, re.I)]
        within = re.search(
            r"\badd\s+column\b.*\b(check|unique|primary|references)\b", bare, re.I | re.S
        )
        if within or (added and len(actions) > 1):
            found.append(statement)
    return found


def correlated_over_made_rows(
    text: str, distributed: Collection[str], views: Collection[str]
) -> list[str]:
    """Sub-queries that follow rows of a query around them, where a distributed table is read and
    the rows are of a view, a CTE or made on the way (a function, VALUES, what a LIMIT left).
    """
    broken: list[str] = []
    for statement in statements_of(text):
        if re.search(
            r"\(\s*select\b.*\)", re.sub(_TEXT, "''", statement), re.I | re.S
        ) and not re.match(r"(comment|do|create\s+function)\b", statement, re.I):
            tree = parsed(statement)
            broken += _Correlated(frozenset(distributed), frozenset(views)).found(tree)
    return broken


def parsed(statement: str) -> exp.Expression:
    """A statement as a tree; a part of one within what makes a statement of it.

    Raises sqlglot's ParseError where it is neither.
    """
    failure: Exception | None = None
    # What is filled in at its end may be another condition.
    copied = re.match(r"copy\s*\((.*)\)\s*to\b", statement, re.I | re.S)
    # A COPY is the query in it: sqlglot does not know all of its options.
    statement = statement if copied is None else copied[1]
    for text in (statement, re.sub(rf"\w+{UNKNOWN}\s*$", "", statement)):
        for around in ("{}", "select 1 from t where {}", "select 1 from t {}", "update t set {}"):
            try:
                return sqlglot.parse_one(around.replace("{}", text), dialect="postgres")
            except sqlglot.errors.SqlglotError as error:
                failure = failure or error
    assert failure is not None
    raise failure


# -- correlation ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """Something in FROM, or a query. `is_made`: no table as it is, nor a part of one; `reads`: the
    tables behind it; `through`: those of them that a query reads through something made.
    """

    is_made: bool
    reads: frozenset[str]
    through: frozenset[str] = frozenset()


@dataclass
class _Scope:
    """What a query sees: its own sources, and those around it."""

    sources: dict[str, _Source] = field(default_factory=dict)
    outer: _Scope | None = None
    ctes: Mapping[str, _Source] = field(default_factory=dict)

    def cte(self, name: str) -> _Source | None:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.ctes:
                return scope.ctes[name]
            scope = scope.outer
        return None


@dataclass
class _Correlated:
    distributed: frozenset[str]
    views: frozenset[str]
    broken: list[str] = field(default_factory=list)

    def found(self, tree: exp.Expression) -> list[str]:
        self._statement(tree, None)
        return self.broken

    def _statement(self, node: exp.Expression, outer: _Scope | None) -> _Source:
        """Look through a query or a statement that writes; what it reads."""
        scope = _Scope(outer=outer)
        with_ = node.args.get("with_") or node.args.get("with")
        ctes: dict[str, _Source] = {}
        scope.ctes = ctes
        reads: frozenset[str] = frozenset()
        for cte in with_.expressions if with_ else ():
            known = self._statement(cte.this, scope)
            ctes[cte.alias] = _Source(True, known.reads)
        if isinstance(node, exp.SetOperation):
            for side in (node.left, node.right):
                reads |= self._statement(_query(side), scope).reads
            return _Source(True, reads, reads)
        through: frozenset[str] = frozenset()
        is_made = node.args.get("limit") is not None
        for each in _from(node):
            name, source = self._source(each, scope)
            scope.sources[name] = source
            reads |= source.reads
            is_made = is_made or source.is_made
            if source.is_made:
                through |= source.reads
        for sub in _inner_queries(node):
            inner = self._statement(sub, scope)
            self._judge(sub, inner, scope)
            reads |= inner.reads
        return _Source(is_made, reads, through)

    def _source(self, node: exp.Expression, scope: _Scope) -> tuple[str, _Source]:
        source = _Source(True, frozenset())  # a function, VALUES
        if isinstance(node, exp.Subquery):
            source = self._statement(_query(node), scope)
        elif isinstance(node, exp.Lateral) and isinstance(node.this, exp.Subquery):
            query = _query(node.this)
            source = self._statement(query, scope)
            self._judge(query, source, scope)
        elif isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            cte = None if node.db else scope.cte(node.name)
            table = f"{node.db}.{node.name}" if node.db else node.name
            source = cte or _Source(table in self.views, frozenset({table}))
        return node.alias_or_name, source

    def _judge(self, query: exp.Expression, inner: _Source, around: _Scope) -> None:
        followed = _followed(query, around)
        is_made = any(each.is_made for each in followed)
        if followed and any(map(self._is_distributed, inner.reads if is_made else inner.through)):
            self.broken.append(query.sql(dialect="postgres"))

    def _is_distributed(self, table: str) -> bool:
        return table in self.distributed or table in self.views or table.endswith(UNKNOWN)


def _query(node: exp.Expression) -> exp.Expression:
    while isinstance(node, exp.Subquery | exp.Paren):
        node = node.this
    return node


def _from(node: exp.Expression) -> Iterator[exp.Expression]:
    """What stands in FROM, USING and as the target of a statement."""
    if isinstance(node, exp.Update | exp.Delete):
        yield node.this
    if isinstance(node, exp.Delete):
        yield from node.args.get("using") or ()
    from_ = node.args.get("from_") or node.args.get("from")
    joins = list(node.args.get("joins") or ())
    if from_ is not None:
        yield from_.this
        joins += from_.this.args.get("joins") or ()
    for join in joins:
        yield join.this
    yield from node.args.get("laterals") or ()


def _inner_queries(node: exp.Expression) -> Iterator[exp.Expression]:
    """The queries within its expressions, which are no sources and no CTEs; not those within."""
    sources = {id(each) for each in _from(node)}
    waiting = list(node.iter_expressions())
    while waiting:
        each = waiting.pop()
        if id(each) in sources or isinstance(each, exp.With):
            continue
        if isinstance(each, exp.Select | exp.SetOperation | exp.Insert | exp.Update | exp.Delete):
            yield each
            continue
        waiting += each.iter_expressions()


def _followed(query: exp.Expression, around: _Scope) -> list[_Source]:
    """The sources around a query to whose columns it refers, by their names."""
    own = {each.alias_or_name for each in query.find_all(exp.Table, exp.Subquery, exp.Lateral)}
    own |= {each.alias_or_name for each in query.find_all(exp.Unnest, exp.Values)}
    found = []
    for name in {column.table for column in query.find_all(exp.Column) if column.table} - own:
        scope: _Scope | None = around
        while scope is not None:
            if name in scope.sources:
                found.append(scope.sources[name])
                break
            scope = scope.outer
    return found


def _names(statement: str) -> set[str]:
    """The tables named in a statement as schema.table, quoted or not."""
    chains = re.findall(r"\w+(?:\.\w+)+", statement.replace('"', ""))
    # A database may stand before them, a column after them.
    return {f"{one}.{two}" for each in chains for one, two in pairwise(each.split("."))}


def _made(statement: str) -> str | None:
    """The table that a statement makes, as schema.table."""
    found = re.match(
        r"\s*create\s+table\s+(?:if\s+not\s+exists\s+)?(?:\w+\.)?(\w+\.\w+)\b",
        statement.replace('"', ""),
        re.I,
    )
    return found and found[1]


# -- where the SQL is ----------------------------------------------------------------------------


def python_sql(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each string of a module that is SQL or a part of it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _text(node.value, known)
            if value is not None:
                known[node.targets[0].id] = value
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if id(node) in docstrings:
            continue
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
            text = _text(node, known)
            if text is not None:
                if _is_sql(text):
                    yield getattr(node, "lineno", 0), text
                continue
        waiting += ast.iter_child_nodes(node)


def _text(node: ast.AST, known: Mapping[str, str]) -> str | None:
    """The text of an expression, with a placeholder for what is not known; None: it is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            _text(each, known) or ""
            if isinstance(each, ast.Constant)
            else known.get(ast.unparse(each.value), "{value}")
            for each in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left, known), _text(node.right, known)
        if left is None and right is None:
            return None
        return (left if left is not None else "{value}") + (
            right if right is not None else "{value}"
        )
    if isinstance(node, ast.Name):
        return known.get(node.id)
    return None


def _is_sql(text: str) -> bool:
    return is_statement(text) or (
        re.search(r"\(\s*select\b|\bon\s+conflict\b.*\bdo\b|\bselect\s+from\b", text, re.S | re.I)
        is not None
    )
