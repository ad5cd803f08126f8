"""Exceptions of single tutors: made, replaced, listed, ended."""

import pytest

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import Kind, Override
from tutor_pipeline.judgement.lifecycle import overrides

pytestmark = pytest.mark.usefixtures("empty")


def test_overrides_are_made_replaced_listed_and_removed(db, make):
    with db.connect() as database:

        def put(override, kind=Kind.ALERT, **changes):
            values = {"reason": "why", "by": "ada", "at": make.day(0)} | changes
            overrides.put(database, kind, override, **values)

        put(Override("T2", "no_show", disabled=True), expires_at=make.day(9))
        put(Override("T3", "no_show", disabled=True), expires_at=make.day(1))
        put(Override("T1", "no_show", disabled=True), Kind.INSIGHT)
        put(Override("T1", "no_show", threshold=4))
        put(Override("T1", "no_show", threshold=5), by="bob", reason="again", at=make.day(1))
        assert overrides.read(database, Kind.ALERT, make.day(1)) == (
            Override("T1", "no_show", threshold=5.0),
            Override("T2", "no_show", disabled=True),
        )
        rows = overrides.list_all(database)
        assert [(row["tutor_id"], row["kind"]) for row in rows] == [
            ("T1", "alert"), ("T1", "insight"), ("T2", "alert"), ("T3", "alert"),
        ]  # fmt: skip
        first = {name: rows[0][name] for name in ("reason", "set_by", "set_at", "threshold")}
        assert first == {
            "reason": "again", "set_by": "bob", "set_at": make.day(1), "threshold": 5.0,
        }  # fmt: skip
        assert (rows[2]["disabled"], rows[2]["expires_at"]) == (True, make.day(9))
        assert overrides.remove(database, Kind.ALERT, "T1", "no_show", make.day(2))
        assert not overrides.remove(database, Kind.ALERT, "T1", "no_show", make.day(2))
        assert len(overrides.list_all(database)) == 3


@pytest.mark.parametrize(
    ("override", "changes", "match"),
    [
        (Override("T1", "no_show"), {}, "either"),
        (Override("T1", "no_show", threshold=3, disabled=True), {}, "either"),
        (Override("T1", "no_show", threshold=float("nan")), {}, "finite"),
        (Override("T1", "no_show", threshold=3), {"reason": " "}, "reason"),
        (Override("T1", "no_show", threshold=3), {"reason": "\u202e ."}, "reason"),
        (Override("T1", "no_show", threshold=3), {"reason": "x" * 501}, "characters"),
        (Override("T1", "no_show", threshold=3), {"by": ""}, "who"),
        (Override("T1", "no_show", threshold=3), {"by": "pipeline"}, "who you are"),
        (Override("T1", "no_show", threshold=3), {"expires_at": -1}, "past"),
    ],
)
def test_an_override_that_cannot_be_meant_is_refused(db, make, override, changes, match):
    if "expires_at" in changes:
        changes = changes | {"expires_at": make.day(changes["expires_at"])}
    values = {"reason": "why", "by": "ada", "at": make.day(0)} | changes
    with db.connect() as database:
        with pytest.raises(UsageError, match=match):
            overrides.put(database, Kind.ALERT, override, **values)
        assert overrides.list_all(database) == []
