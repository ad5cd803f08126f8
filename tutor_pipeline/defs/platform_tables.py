"""The platform's tables as external assets: dbt reads them, the pipeline never writes them."""

from collections.abc import Iterable

import dagster as dg

from tutor_pipeline.sources.contract import Table, load_contract
from tutor_pipeline.steps.names import Group

OWNER = "team:platform"


@dg.definitions
def definitions() -> dg.Definitions:
    """One asset per table of the contract."""
    return dg.Definitions(assets=build_source_assets(load_contract().tables))


def source_key(table: str) -> dg.AssetKey:
    """`platform/<table>`, for any name of the platform's schema."""
    return dg.AssetKey(["platform", table])


def build_source_assets(contract: Iterable[Table]) -> list[dg.AssetSpec]:
    """One external asset per table of the contract, with the columns of the contract."""
    return [
        dg.AssetSpec(
            source_key(table.name),
            group_name=Group.SOURCE,
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
