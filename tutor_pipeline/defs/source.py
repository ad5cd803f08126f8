"""The platform's tables as external assets: read by dbt, written by nobody here."""

from collections.abc import Iterable

import dagster as dg

from tutor_pipeline.sources.contract import Table

GROUP = "source"
OWNER = "team:platform"


def source_key(table: str) -> dg.AssetKey:
    """`platform/<table>`, whatever the platform's schema is called."""
    return dg.AssetKey(["platform", table])


def build_source_assets(contract: Iterable[Table]) -> list[dg.AssetSpec]:
    """One external asset per table of the contract, with its columns as the contract has them."""
    return [
        dg.AssetSpec(
            source_key(table.name),
            group_name=GROUP,
            description=table.description,
            kinds={"postgres"},
            owners=[OWNER],
            metadata={
                "required": table.required,
                "dagster/column_schema": dg.TableSchema(
                    columns=[
                        dg.TableColumn(
                            column.name,
                            column.type,
                            description=column.description,
                            constraints=dg.TableColumnConstraints(nullable=not column.required),
                        )
                        for column in table.columns
                    ]
                ),
            },
        )
        for table in contract
    ]
