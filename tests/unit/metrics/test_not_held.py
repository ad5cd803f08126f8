"""Sessions of an import without `tutor_showed`: counted, and no figure guesses who was absent."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.unit.metrics.conftest import AS_OF, Bench
from tutor_pipeline.core.findings import Kind
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.judgement.rules.catalogue import load_catalogue
from tutor_pipeline.judgement.rules.evaluate import evaluate
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.metrics.wide_rows import rule_inputs
from tutor_pipeline.sources.csv.importing import import_folder

# Tutor, days ago, completed, tutor showed, student showed (empty: the file does not say).
SESSIONS = [
    *(("unclear", age, "1", "", "") for age in (1, 2, 3)),
    *(("unclear", age, "0", "", "0") for age in (4, 5, 6, 60)),
    ("unclear", 7, "0", "0", ""),
    ("long ago", 1, "1", "1", "1"),
    ("long ago", 2, "0", "0", "1"),
    ("long ago", 45, "0", "", ""),
    *(("clear", age, "0", "0", "1") for age in (1, 2, 3)),
    ("clear", 4, "0", "1", "0"),
    ("clear", 5, "0", "1", "1"),
]


def write(folder: Path) -> None:
    folder.mkdir()
    tutors = sorted({row[0] for row in SESSIONS})
    (folder / "tutor_profiles.csv").write_text("\n".join(["tutor_id", *tutors, ""]))
    lines = ["session_id,tutor_id,session_datetime,session_completed,tutor_showed,student_showed"]
    for number, (tutor, age, *flags) in enumerate(SESSIONS):
        moment = f"{AS_OF - timedelta(days=age):%Y-%m-%d 09:00:00}"
        lines.append(",".join([f"S{number}", tutor, moment, *flags]))
    (folder / "sessions.csv").write_text("\n".join([*lines, ""]))


def plainly(tutor: str, days: int) -> dict[str, int | None]:
    """The counts of a window, from the rows as written above."""
    found = Counter(
        "completed" if done == "1"
        else "no_show_tutor" if showed == "0"
        else "not_held" if showed == ""
        else "no_show_student" if student == "0"
        else "cancelled"
        for who, age, done, showed, student in SESSIONS
        if who == tutor and age < days
    )  # fmt: skip
    known = {name: found[name] for name in ("no_show_tutor", "no_show_student", "cancelled")}
    if found["not_held"]:
        known = dict.fromkeys(known, None)
    return {"sessions": found.total(), "sessions_completed": found["completed"], **known}


def test_what_was_not_held_counts_and_leaves_absences_unknown(
    databases: Any, dbt_home: Path, tmp_path: Path
) -> None:
    bench = Bench(Warehouse(databases.create()), dbt_home)
    write(tmp_path / "export")
    import_folder(bench.warehouse, tmp_path / "export", as_of=AS_OF)
    bench.refresh(AS_OF, select=["+tutor_aggregates"])
    rows = {row["tutor_id"]: row for row in bench.rows("select * from {marts}.tutor_aggregates")}
    for tutor, row in rows.items():
        for days in (30, 90):
            for name, number in plainly(tutor, days).items():
                if f"{name}_{days}d" in row:
                    assert row[f"{name}_{days}d"] == number, (tutor, name, days)
    assert rows["unclear"]["no_show_rate_30d"] is rows["unclear"]["no_show_tutor_30d"] is None
    assert rows["unclear"]["completion_rate_30d"] == 3 / 7
    assert (rows["long ago"]["no_show_tutor_30d"], rows["long ago"]["no_show_tutor_90d"]) == (
        1,
        None,
    )
    assert rows["clear"]["no_show_rate_30d"] == 3 / 5

    catalogue = load_catalogue("conservative", rule_inputs(), thresholds())
    columns = catalogue.columns(Kind.ALERT)
    given = [{name: row.get(name) for name in columns} for row in rows.values()]
    evaluation = evaluate(catalogue, Kind.ALERT, given, AS_OF)
    assert evaluation.evaluated["no_show_pattern"] == {"clear", "long ago"}
    assert {each.tutor_id for each in evaluation.findings if each.rule_id == "no_show_pattern"} == {
        "clear"
    }
