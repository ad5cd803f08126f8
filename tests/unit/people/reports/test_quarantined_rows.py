"""Rows in quarantine, as commands name and list them."""

import pytest

from tests.unit.people.reports.conftest import DAY, NOW
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.people.reports.quarantined_rows import entries, entry


def test_a_row_is_named_by_the_beginning_of_its_key_and_its_number(ops):
    for key in ("3fa2#1", "3fa2#2", "3fb1#1", "3fb1#12"):
        ops.quarantined(key, NOW)
    assert entry(ops.database, "3fa2#2")["row_key"] == "3fa2#2"
    assert entry(ops.database, "3fa#1")["row_key"] == "3fa2#1"
    assert entry(ops.database, "3fb1#1")["row_key"] == "3fb1#1"
    for key, how_many in (("3fa2", "more than one"), ("3f#1", "more than one"), ("3fa2#3", "no")):
        with pytest.raises(UsageError, match=f"^{how_many} quarantined row .*'{key}'"):
            entry(ops.database, key)
    with pytest.raises(UsageError, match=r"begins with '3fa2': 3fa2#1, 3fa2#2\."):
        entry(ops.database, "3fa2")


def test_the_newest_come_first_and_the_rows_of_a_file_in_its_order(ops):
    file = {"source": "csv:sessions.csv", "file": "/in/sessions.csv", "reasons": ["bad"]}
    ops.quarantined("b#1", NOW, line=20, **file)
    ops.quarantined("a#1", NOW, line=3, **file)
    ops.quarantined("c#1", NOW + DAY)
    ops.quarantined("d#1", NOW, resolved_at=NOW + DAY)

    def keys(**options):
        number, rows = entries(ops.database, **{"limit": 10, **options})
        return number, [row["row_key"] for row in rows]

    assert keys() == (3, ["c#1", "a#1", "b#1"])
    assert keys(limit=1) == (3, ["c#1"])
    assert keys(include_resolved=True)[0] == 4
    assert keys(reason="bad") == (2, ["a#1", "b#1"])
    assert keys(source="platform.sessions") == (1, ["c#1"])
    with pytest.raises(UsageError, match=r"ever had the reason 'bat'\. Known: bad$"):
        keys(reason="bat")
