"""One place says what stands after FROM to read the platform: a mapping holds for everybody."""

from __future__ import annotations

import re

from tutor_pipeline.core.paths import DBT_PROJECT_DIR, PROJECT_DIR

# Who writes to a platform schema of our own, which has the contract's names, and who asks which
# tables a schema has.
ITS_MAKERS = (
    "tutor_pipeline/sources/csv/",
    "tutor_pipeline/sources/events/tables.py",
    "tutor_pipeline/sources/synthetic/",
    "tutor_pipeline/core/warehouse/sql/platform.sql",
    "tutor_pipeline/core/warehouse/sql/session_students.sql",
    "tutor_pipeline/core/warehouse/database.py",
    "tutor_pipeline/sources/personal_rows.py",
    "tutor_pipeline/sources/mapping/draft/catalog.py",
)
NAMED = re.compile(r"\{platform\}\.|Identifier\([a-z_.]*schemas\.platform, ")


def test_no_reader_names_a_platform_table() -> None:
    found = []
    for path in sorted((PROJECT_DIR / "tutor_pipeline").rglob("*")):
        name = path.relative_to(PROJECT_DIR).as_posix()
        if path.suffix not in (".py", ".sql") or name.startswith(ITS_MAKERS):
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [f"{name}:{number}" for number, line in enumerate(lines, 1) if NAMED.search(line)]
    assert found == []


def test_one_file_of_macros_names_the_source() -> None:
    found = {
        path.relative_to(DBT_PROJECT_DIR).as_posix()
        for folder in ("models", "macros", "tests")
        for path in DBT_PROJECT_DIR.joinpath(folder).rglob("*.sql")
        if "source('" in path.read_text(encoding="utf-8")
    }
    assert found == {"macros/platform.sql"}


def test_staged_tables_are_read_by_their_macro():
    """A ref() would be injected, for which dbt parses the whole text of the reader, every time."""
    found = {
        path.relative_to(DBT_PROJECT_DIR).as_posix()
        for folder in ("models", "macros")
        for path in DBT_PROJECT_DIR.joinpath(folder).rglob("*.sql")
        if "ref('stg_" in path.read_text(encoding="utf-8")
    }
    assert found == {"macros/platform.sql"}
