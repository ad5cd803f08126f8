"""What every asset of ours says of itself: owner, group, tags, the table behind it."""

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
"""By cadence, how old an asset may be: one night or week missed is a warning, two a failure."""


def asset_key(asset: str) -> dg.AssetKey:
    """`marts/fct_sessions` as a key."""
    return dg.AssetKey(asset.split("/"))


def cadence(name: str) -> dict[str, str]:
    """The tag that says with what an asset is made; jobs choose their assets by it."""
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
    """A table of ours as one of those that a step makes. `deps` None = what `steps.order` says that
    it rests on.
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
    """Decorator: `dg.asset` for a table of ours, with the arguments of `table_spec`. Without a
    `description`, the function's docstring is it.
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
    """The assets with links to their code."""
    with warnings.catch_warnings():
        # The links to the code are a beta of Dagster's; a warning per asset helps nobody.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.with_source_code_references(assets)


def table(
    rows: Iterable[Mapping[str, Any]], *, limit: int = 50, none: str = "none"
) -> dg.MetadataValue[Any]:
    """Rows as a table of metadata, the first `limit` of them; the text `none` where there is no
    row. A cell that is no number is a text.
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
    """Names, types and comments of the columns of a table that migrations made."""
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
