"""The columns of our own tables, as the catalog has them, for the asset's page."""

import dagster as dg

from tutor_pipeline.core.warehouse.database import Database


def column_schema(database: Database, schema: str, table: str) -> dg.TableSchema:
    """Names, types and comments of a table that migrations made."""
    rows = database.execute(
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
