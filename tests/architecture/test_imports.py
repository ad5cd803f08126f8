"""Imports point one way, and nobody but the settings reads the environment."""

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "tutor_pipeline"


def test_the_import_contracts_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-cache"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_only_the_settings_and_the_command_line_read_the_environment():
    allowed = {"core/settings.py", "cli", "metrics/dbt.py", "core/warehouse/embedded_programs.py"}
    readers = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"os\.environ|getenv", path.read_text(encoding="utf-8"))
    ]
    # dbt and PostgreSQL's programs are handed an environment; they are not configured from ours.
    assert [name for name in readers if not any(name.startswith(a) for a in allowed)] == []


def test_packages_take_the_moment_as_an_argument():
    """None asks for the time itself, but where a lease or a retry needs a clock."""
    packages = ("judgement", "metrics", "sources", "people/reports")
    asking = [
        path.relative_to(PACKAGE).as_posix()
        for package in packages
        for path in (PACKAGE / package).rglob("*.py")
        if re.search(
            r"datetime\.now|date\.today|utcnow|time\.time\(", path.read_text(encoding="utf-8")
        )
    ]
    assert asking == []


def test_every_module_says_what_it_is_for():
    silent = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if not path.read_text(encoding="utf-8").lstrip().startswith('"""')
    ]
    assert silent == []


def test_nothing_committed_names_a_place_of_one_machine():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False
    ).stdout.split("\n")
    suspicious = re.compile(r"/(home|root|Users|work)/[a-z]+/|registry\.|pythonhosted")
    for name in filter(None, listed):
        path = PROJECT / name
        if path.is_file() and path != Path(__file__):
            assert not suspicious.search(path.read_text(encoding="utf-8", errors="replace")), name
