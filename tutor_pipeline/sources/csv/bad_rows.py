"""Bad rows of an import in the quarantine: recorded, and resolved once the row came back good.

Belongs here: which entries of the quarantine an import opens and resolves.
Does not belong here: which rows are bad (staged_files.py), the entries of a live platform.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.csv.staged_files import StagedFile
from tutor_pipeline.sources.quarantine import record

_NUMBER_EQUAL_ROWS = """
    create temporary table incoming_bad on commit drop as
    select
        source,
        digest || '#' || row_number() over (partition by source, digest order by line) as row_key,
        business_key,
        file,
        line,
        payload,
        raw,
        reasons
    from pg_temp.incoming_quarantine
"""
_NOT_BAD_AGAIN = """
    not exists (
        select 1 from pg_temp.incoming_bad as bad
        where bad.source = kept.source and bad.row_key = kept.row_key
    )
"""
# A row is known by its key, and one without a readable key by its line.
_RESOLVE_GOOD = f"""
    update {{ops}}.quarantine as kept set resolved_at = %(as_of)s
    from {{incoming}} as incoming
    where kept.source = %(source)s and kept.resolved_at is null and incoming._reasons = '{{{{}}}}'
        and {{same}} and {_NOT_BAD_AGAIN}
"""
_RESOLVE_ALL = f"""
    update {{ops}}.quarantine as kept set resolved_at = %(as_of)s
    where kept.source like 'csv:%%' and kept.resolved_at is null and {_NOT_BAD_AGAIN}
"""


def reasons_of(database: Database, staged: StagedFile) -> dict[str, int]:
    """Returns reason → bad rows of a file, the most frequent first."""
    return dict(
        database.execute(
            "select reason, count(*) from pg_temp.incoming_quarantine,"
            " unnest(reasons) as reason where source = %s group by reason order by 2 desc, 1",
            (staged.label,),
        ).fetchall()
    )


def keep_bad_rows(
    database: Database, files: Sequence[StagedFile], as_of: datetime, *, is_new: bool
) -> None:
    """Records the bad rows, and resolves open entries whose rows came back good.

    `is_new`: this import replaced the whole platform, so no entry of an earlier one is open.
    """
    database.execute(_NUMBER_EQUAL_ROWS)
    record(database, sql.SQL("select * from pg_temp.incoming_bad"), {"as_of": as_of})
    if is_new:
        database.execute(_RESOLVE_ALL, {"as_of": as_of})
        return
    for staged in files:
        is_open = "select 1 from {ops}.quarantine where source = %s and resolved_at is null limit 1"
        if staged.refused or database.value(is_open, (staged.label,)) is None:
            continue
        for same in ("kept.business_key = concat_ws('/', {key})", "kept.raw = incoming._raw"):
            key = sql.SQL(", ").join(sql.Identifier("incoming", each) for each in staged.file.key)
            database.execute(
                database.sql(
                    _RESOLVE_GOOD, incoming=staged.table, same=sql.SQL(same).format(key=key)
                ),
                {"as_of": as_of, "source": staged.label},
            )
