"""Helpers for migrations: our schema names in SQL, and distribution by tutor on Citus."""

import re
from collections.abc import Iterator

from alembic import context, op
from sqlalchemy import text

from tutor_pipeline.core.warehouse.database import Schemas

# What may hold a semicolon that ends nothing: comments, texts, names, bodies of functions.
_TOKEN = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?\*/ )
    | '(?:[^']|'')*' | "(?:[^"]|"")*" | (?<!\w)(?P<tag>\$\w*\$).*?(?P=tag)
    | (?P<end>;) | (?P<word>[^\s;])
    """,
    re.VERBOSE | re.DOTALL,
)


def statements_of(script: str) -> Iterator[str]:
    """The statements of a script one by one, without what separates them."""
    start, is_empty = 0, True
    for token in _TOKEN.finditer(script + ";"):
        if not token["end"]:
            is_empty = is_empty and token["comment"] is not None
            continue
        if not is_empty:
            yield script[start : token.start()].strip()
        start, is_empty = token.end(), True


def run_sql(statements: str) -> None:
    """Run SQL in which {ops}, {staging}, {intermediate} and {marts} stand for our schemas.

    Statement by statement: a cluster refuses several in one string where one of them changes a
    distributed table.
    """
    schemas: Schemas = context.config.attributes["schemas"]
    names = {
        "ops": schemas.ops,
        "staging": schemas.staging,
        "intermediate": schemas.intermediate,
        "marts": schemas.marts,
    }
    for name, value in names.items():
        statements = statements.replace("{" + name + "}", f'"{value}"')
    # exec_driver_sql: no bind parameters here, so colons stay as written; a percent sign is
    # written twice.
    for statement in statements_of(statements):
        op.get_bind().exec_driver_sql(statement)


def may_be(table: str, column: str, *words: str) -> None:
    """Says which words a column of `{ops}.<table>` may hold, in place of those that it might."""
    run_sql(f"alter table {{ops}}.{table} drop constraint {table}_{column}_check")
    allowed = ", ".join(f"'{word}'" for word in words)
    run_sql(
        f"alter table {{ops}}.{table} add constraint {table}_{column}_check"
        f" check ({column} in ({allowed}))"
    )


def distribute(table: str, column: str = "tutor_id") -> None:
    """Distributes `{ops}.<table>` by `column` if the Citus extension exists.

    PostgreSQL parses the inner block only when it reaches it, so it needs no Citus catalog.
    """
    schemas: Schemas = context.config.attributes["schemas"]
    relation = f'"{schemas.ops}"."{table}"'
    op.execute(
        text(f"""
        do $citus$ begin
          if exists (select 1 from pg_extension where extname = 'citus') then
            if not exists (
              select 1 from pg_dist_partition where logicalrelid = '{relation}'::regclass
            ) then
              perform create_distributed_table('{relation}', '{column}');
              perform truncate_local_data_after_distributing_table('{relation}');
            end if;
          end if;
        end $citus$
        """)
    )
