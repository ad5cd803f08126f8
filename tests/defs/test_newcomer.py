"""What somebody who knows Dagster does first: add an asset where `dg` puts it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DG = Path(sys.executable).with_name("dg")


@pytest.fixture
def checkout(tmp_path):
    """A copy of what git has, with its own home."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    copy = tmp_path / "checkout"
    for name in filter(None, listed):
        if (PROJECT / name).is_file() and not name.startswith("tests/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, copy / name)
    return copy


def dg(checkout, *arguments):
    environment = {name: value for name, value in os.environ.items() if "DAGSTER" not in name} | {
        "PYTHONPATH": str(checkout),
        "VIRTUAL_ENV": sys.prefix,
        "TUTOR_HOME": str(checkout / ".tutor"),
        "TUTOR_DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/nowhere",
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    result = subprocess.run(
        [DG, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_scaffolded_asset_is_there(checkout):
    dg(checkout, "scaffold", "defs", "dagster.asset", "x.py")
    assert (checkout / "tutor_pipeline" / "defs" / "x.py").exists()
    found = json.loads(dg(checkout, "list", "defs", "--json"))
    assert "x" in {each["asset_key"] for each in found["assets"]}
    assert "ops/alerts" in {each["asset_key"] for each in found["assets"]}
