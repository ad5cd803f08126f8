"""What migrations need beyond Alembic: our schema names in SQL, and distribution by tutor."""

from alembic import context, op
from sqlalchemy import text

from tutor_pipeline.core.warehouse.database import Schemas


def run_sql(statements: str) -> None:
    """Run SQL in which {ops}, {staging}, {intermediate} and {marts} stand for our schemas."""
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
    op.get_bind().exec_driver_sql(statements)


def distribute(table: str, column: str = "tutor_id") -> None:
    """Distribute `{ops}.<table>` by `column` where the Citus extension is; elsewhere do nothing.

    The inner block is parsed only when it is reached, so plain PostgreSQL never sees its catalog.
    """
    schemas: Schemas = context.config.attributes["schemas"]
    relation = f'"{schemas.ops}"."{table}"'
    op.execute(
        text(f"""
        do $citus$ begin
          if exists (select from pg_extension where extname = 'citus') then
            if not exists (
              select from pg_dist_partition where logicalrelid = '{relation}'::regclass
            ) then
              perform create_distributed_table('{relation}', '{column}');
              perform truncate_local_data_after_distributing_table('{relation}');
            end if;
          end if;
        end $citus$
        """)
    )
