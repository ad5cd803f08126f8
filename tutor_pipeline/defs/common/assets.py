"""Shared attributes of the pipeline's assets: owner, group, tags, the table behind each."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

import dagster as dg

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.steps.names import Cadence
from tutor_pipeline.steps.order import TABLES

OWNER = "team:data-engineering"
TABLE_KINDS = {"python", "postgres"}

FRESHNESS = {
    Cadence.REFRESH: dg.FreshnessPolicy.time_window(
        warn_window=timedelta(hours=26), fail_window=timedelta(hours=50)
    ),
    Cadence.WEEK: dg.FreshnessPolicy.time_window(
        warn_window=timedelta(days=8), fail_window=timedelta(days=15)
    ),
}
"""Maximum age of an asset by cadence: one missed night or week warns, two fail."""


def asset_key(asset: str) -> dg.AssetKey:
    """`marts/fct_sessions` as a key."""
    return dg.AssetKey(asset.split("/"))


def cadence(name: str) -> dict[str, str]:
    """The tag that says what makes an asset. Jobs select their assets by it."""
    return {"cadence": name}


def table_spec(
    asset: str,
    group: str,
    description: str | None = None,
    *,
    made: str = Cadence.REFRESH,
    deps: Iterable[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetSpec:
    """Arguments for the asset of one of the pipeline's tables. `deps`: None = the tables that
    `steps.order` names.
    """
    return dg.AssetSpec(**_of_table(asset, group, description, made, deps, metadata))


def table_asset(
    asset: str,
    group: str,
    description: str | None = None,
    *,
    made: str = Cadence.REFRESH,
    deps: Iterable[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    check_specs: Sequence[dg.AssetCheckSpec] = (),
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Decorator: `dg.asset` for one of the pipeline's tables, with the arguments of `table_spec`.
    The function's docstring is the default `description`.
    """
    arguments = _of_table(asset, group, description, made, deps, metadata)
    made_by = dg.asset(**arguments, check_specs=check_specs)
    return cast("Callable[[Callable[..., Any]], dg.AssetsDefinition]", made_by)


def _of_table(
    asset: str,
    group: str,
    description: str | None,
    made: str,
    deps: Iterable[str] | None,
    metadata: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return {
        "key": asset_key(asset),
        "deps": [asset_key(each) for each in (TABLES[asset].rests_on if deps is None else deps)],
        "group_name": group,
        "kinds": TABLE_KINDS,
        "owners": [OWNER],
        "tags": cadence(made),
        "freshness_policy": FRESHNESS.get(made),
        "description": description,
        "metadata": {"dagster/table_name": asset.replace("/", "."), **(metadata or {})},
    }


def with_code_references(*assets: Any) -> Sequence[Any]:
    """Return the assets with links to their code."""
    with warnings.catch_warnings():
        # Links to code are a Dagster beta feature that warns once per asset.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.with_source_code_references(assets)


def table(
    rows: Iterable[Mapping[str, Any]], *, limit: int = 50, none: str = "none"
) -> dg.MetadataValue[Any]:
    """Return the first `limit` rows as a metadata table, or the text `none` without any row. Values
    other than numbers become text.
    """
    found = [{name: _cell(value) for name, value in row.items()} for row in rows]
    if not found:
        return dg.MetadataValue.text(none)
    shown = found[:limit]
    if len(found) > limit:
        more = dict.fromkeys(found[0], "")  # Dagster wants the same fields in every record
        first = next(iter(more))
        shown.append({**more, first: f"… {len(found) - limit} more"})
    return dg.MetadataValue.table([dg.TableRecord(row) for row in shown])


def _cell(value: Any) -> str | int | float | bool:
    if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return "" if value is None else str(value)


def column_schema(database: Database, schema: str, table_name: str) -> dg.TableSchema:
    """Return names, types and comments of the columns of a table that migrations create."""
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
        (schema, table_name),
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
