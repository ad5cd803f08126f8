"""A user changes a var in the checkout: what is counted and what is told change together."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ZYGOTE, Project, Zygote
from tutor_pipeline.core.paths import PROJECT_DIR

PARTS = ("dbt_project", "deploy", "tutor_pipeline")


class OtherCheckout(Zygote):
    """Runs commands of a copy of the checkout."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, str(ZYGOTE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": str(checkout)},
        )


@pytest.fixture(scope="module")
def changed(databases, tmp_path_factory, starts_something):
    """A project whose high_reschedule_rate is 0.20, and three tutors about that rate."""
    checkout = tmp_path_factory.mktemp("a checkout ")
    for part in PARTS:
        shutil.copytree(PROJECT_DIR / part, checkout / part)
    shutil.copy(PROJECT_DIR / "pyproject.toml", checkout)
    file = checkout / "dbt_project" / "dbt_project.yml"
    text, found = re.subn(r"high_reschedule_rate: 0\.15\n", "high_reschedule_rate: 0.20\n",
                          file.read_text("utf-8"))  # fmt: skip
    assert found == 1
    file.write_text(text, "utf-8")
    zygote = OtherCheckout(checkout, tmp_path_factory.mktemp("zygote"))
    settings = {
        "PYTHONPATH": str(checkout),
        "TUTOR_RULE_PROFILE": "conservative",
    }
    home = tmp_path_factory.mktemp("home")
    project = Project(home, databases.create(migrated=False), zygote, settings)
    project.run("generate", "--tutors", "25", "--days", "35")
    # One session in so many was moved: 33 %, 17 % and 4 %.
    for tutor, one_in in (("Often", 3), ("Between", 6), ("Seldom", 25)):
        project.execute(
            f"insert into platform.tutors (user_id, active_status) values ('{tutor}', true);"
            "insert into platform.sessions (id, tutor_id, scheduled_start, status,"
            " tutor_showed_up, rescheduled_by)"
            f" select '{tutor}-' || n, '{tutor}', now() - n * interval '12 hours',"
            f" case when n % {one_in} = 0 then 'rescheduled' else 'completed' end, true,"
            f" case when n % {one_in} = 0 then 'tutor' end"
            " from generate_series(1, 50) as n"
        )
    project.run("enrich")
    yield project
    zygote.stop()
    databases.adopt(f"{project.url}_dagster")


def test_what_is_high_and_what_is_told_of_it_have_the_same_number(changed):
    high = dict(
        changed.query(
            "select tutor_id, is_high_reschedule from marts.tutor_aggregates"
            " where tutor_id in ('Often', 'Between', 'Seldom')"
        )
    )
    assert high == {"Often": True, "Between": False, "Seldom": False}
    told = dict(
        changed.query(
            "select tutor_id, display_text from ops.tutor_insights"
            " where category = 'high_reschedule_share' and is_active"
        )
    )
    assert told["Often"].endswith("(more than 20 % of at least 5 is high)")
    assert "Between" not in told


def test_attention_says_20_percent(changed):
    shown = changed.run("attention", "--limit", "100").stdout
    (title,) = [line for line in shown.splitlines() if "Often" in line and "╭" in line]
    assert "reschedules over 20 %" in title
    assert "over 15 %" not in shown
    assert "more than 20 %" in changed.run("tutor", "Often").stdout


def test_messages_say_20_percent(changed):
    changed.run("notify", "send")
    messages = changed.query(
        "select text_body, html_body from ops.messages where 'Often' = any(tutor_ids)"
    )
    assert messages
    for bodies in messages:
        for body in bodies:
            assert "reschedules over 20 %" in body
            assert "over 15 %" not in body


def test_what_a_rule_shows_is_what_it_says(changed):
    shown = changed.run("rules", "show", "high_reschedule_share").stdout
    assert "more than 20 % of at least 5 is high" in " ".join(shown.split())
    assert "15 %" not in shown
