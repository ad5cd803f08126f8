"""The columns of our own tables, as the catalog has them, for the asset's page."""

from typing import Any

import dagster as dg
import psycopg


def column_schema(connection: psycopg.Connection[Any], schema: str, table: str) -> dg.TableSchema:
    """Names, types and comments of a table that migrations made."""
    rows = connection.execute(
        """
        select
            attname,
            format_type(atttypid, atttypmod),
            attnotnull,
            col_description(attrelid, attnum)
        from pg_attribute
        where attrelid = format('%%I.%%I', %s::text, %s::text)::regclass
            and attnum > 0 and not attisdropped
        order by attnum
        """,
        (schema, table),
    ).fetchall()
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                kind,
                description=comment,
                constraints=dg.TableColumnConstraints(nullable=not required),
            )
            for name, kind, required, comment in rows
        ]
    )
