"""A copy of the project that a user changes: the recipes of CONTRIBUTING as written, and a var."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tutor_pipeline.core.warehouse import migrate

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("starts_something")]

PROJECT = Path(__file__).parents[2]
MOST_FILES = {
    "Adding a rule": 1,
    "Adding a check": 1,
    "Adding a column of the platform": 1,
    "Adding a scorer": 2,
    "Adding a kind of message": 3,
    "Adding a page": 2,
    "Adding a table of `ops`": 3,
}
"""How many files each recipe may name, besides tests."""

_BLOCK = re.compile(r"(?:^`([^`\n]+\.\w+)`\n\n)?^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(recipe: str) -> list[tuple[str, str, str]]:
    """(file, language, text) of each block of a recipe; a block without a file is of the last."""
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split(f"## {recipe}\n", 1)[1].split("\n## ", 1)[0]
    newest = migrate.head()
    section = section.replace("NEXT", f"{int(newest) + 1:04}").replace("NEWEST", newest)
    found, file = [], ""
    for named, language, body in _BLOCK.findall(section):
        file = named or file
        found.append((file, language, body))
    return found


def changed(text: str, diff: str) -> str:
    """The text with a change: lines that stay (blank), go (-) and come (+)."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] != "+")
    after = "".join(line[1:] for line in lines if line[0] != "-")
    assert text.count(before) == 1, f"{text.count(before)} places look like this:\n{before}"
    return text.replace(before, after)


@dataclass
class Copy:
    """A copy of the project in which the recipes were followed, and its database."""

    path: Path
    url: str

    def follow(self, recipe: str) -> None:
        for file, language, body in blocks(recipe):
            target = self.path / file
            if language == "diff":
                content = changed(target.read_text(encoding="utf-8"), body)
            else:
                assert not target.exists(), f"{file} is there already"
                content = body
            target.write_text(content, encoding="utf-8")

    def _output(self, *command: str | Path) -> str:
        result = subprocess.run(
            command, cwd=self.path, capture_output=True, text=True, check=False,
            env={
                **os.environ,
                "PYTHONPATH": str(self.path),
                "TUTOR_HOME": str(self.path / ".tutor"),
                "TUTOR_DATABASE_URL": self.url,
                "TUTOR_RULE_PROFILE": "conservative",
            },
        )  # fmt: skip
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        return result.stdout

    def python(self, code: str, *arguments: str) -> str:
        return self._output(sys.executable, "-c", code, *arguments)

    def shell(self, script: str) -> str:
        """Run with $0 = Python, $1 = dbt."""
        dbt = Path(sys.executable).with_name("dbt")
        return self._output("bash", "-c", script, sys.executable, dbt)

    def run(self, *arguments: str) -> str:
        return self.python("from tutor_pipeline.cli import main; main()", *arguments)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def copy(databases, tmp_path_factory):
    """All recipes followed at once, high_reschedule_rate set to 0.20, and one full refresh.

    The platform has the new column, and three tutors about that rate.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    path = tmp_path_factory.mktemp("copy")
    for name in filter(None, listed):
        if (PROJECT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, path / name)
    url = databases.create(migrated=False)
    copy = Copy(path, url)
    for recipe in MOST_FILES:
        copy.follow(recipe)
    variables = path / "dbt_project" / "dbt_project.yml"
    text = variables.read_text(encoding="utf-8")
    assert text.count("high_reschedule_rate: 0.15\n") == 1
    text = text.replace("high_reschedule_rate: 0.15\n", "high_reschedule_rate: 0.20\n")
    variables.write_text(text, encoding="utf-8")
    copy.run("generate", "--tutors", "20", "--days", "40")
    with psycopg.connect(url) as connection:
        connection.execute("alter table platform.sessions add column spoken_language text")
        connection.execute(
            "update platform.sessions set scheduled_start = scheduled_start - interval '20 days',"
            " actual_start = actual_start - interval '20 days' where tutor_id = 'T0001'"
        )
        # One session in so many was moved: 33 %, 17 % and 4 %.
        for tutor, one_in in (("Often", 3), ("Between", 6), ("Seldom", 25)):
            connection.execute(
                f"insert into platform.tutors (user_id, active_status) values ('{tutor}', true);"
                "insert into platform.sessions (id, tutor_id, scheduled_start, status,"
                " tutor_showed_up, rescheduled_by)"
                f" select '{tutor}-' || n, '{tutor}', now() - n * interval '12 hours',"
                f" case when n % {one_in} = 0 then 'rescheduled' else 'completed' end, true,"
                f" case when n % {one_in} = 0 then 'tutor' end"
                " from generate_series(1, 50) as n"
            )
        connection.execute("update platform.sessions set spoken_language = 'fr'")
    copy.run("enrich")
    yield copy
    databases.adopt(f"{url}_dagster")


@pytest.mark.parametrize("recipe", MOST_FILES)
def test_a_recipe_names_few_files(recipe):
    files = {file for file, _, _ in blocks(recipe) if not file.startswith("tests/")}
    assert 0 < len(files) <= MOST_FILES[recipe]


def test_what_recipes_add_pleases_the_linters(copy):
    for command in (("ruff", "check"), ("ruff", "format", "--check"), ("lint-imports",)):
        program = Path(sys.executable).with_name(command[0])
        result = subprocess.run(
            [program, *command[1:]], cwd=copy.path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_a_rule_fires_at_its_threshold(copy):
    rules = json.loads(copy.run("rules", "list", "--json"))
    assert "long_absence" in json.dumps(rules)
    opened = copy.query("select tutor_id from ops.alerts where alert_type = 'long_absence'")
    absent = "select tutor_id from marts.tutor_aggregates where days_since_last_session >= 14"
    assert set(opened) == set(copy.query(absent))
    assert ("T0001",) in opened


def test_a_check_is_evaluated(copy):
    assert copy.query(
        "select status from ops.dq_results where check_name = 'nobody_joined_before_the_platform'"
    ) == [("passed",)]


def test_a_column_of_the_platform_is_staged_and_watched(copy):
    shown = copy.shell(
        'eval "$("$0" -c "from tutor_pipeline.cli import main; main()" env)" && "$1" show'
        " --inline \"select distinct spoken_language from {{ ref('stg_platform__sessions') }}\""
        " --output json"
    )
    assert '"spoken_language": "fr"' in shown
    code = (
        "from tutor_pipeline.sources.contract import load_contract\n"
        "print(load_contract().table('sessions').column('spoken_language').costs)"
    )
    assert copy.python(code).strip() == "lessons cannot be told apart by language"


def test_a_scorer_scores_everybody(copy):
    scored = copy.query(
        "select count(distinct tutor_id) from ops.tutor_scores where scorer = 'workload_v1'"
    )
    assert scored == copy.query("select count(*) from marts.tutor_aggregates")
    assert scored[0][0] > 0


def test_a_kind_of_message_is_told_once(copy):
    code = """
from datetime import UTC, datetime

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.people.notify.kinds import welcome

import os
with Warehouse(os.environ["TUTOR_DATABASE_URL"]).connect() as database:
    now = datetime.now(UTC)
    print([welcome.note(database, "T-new", now=now, run_id="r") for _ in range(2)])
"""
    assert copy.python(code).strip() == "[1, 0]"
    copy.run("notify", "send")
    ((subject, text, html),) = copy.query(
        "select subject, text_body, html_body from ops.messages where kind = 'welcome'"
    )
    assert subject == "T-new began to teach"
    assert "how the first lesson went" in text
    assert "how the first lesson went" in html


def test_its_test_passes(copy):
    copy.python(
        "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))",
        "-q", "-p", "no:cacheprovider", "tests/unit/people/notify/test_welcome.py",
    )  # fmt: skip


PAGE = """
import sys
from datetime import UTC, datetime
from starlette.testclient import TestClient
from tutor_pipeline.core.settings import load_settings
from tutor_pipeline.desk.app import create_app
from tutor_pipeline.desk.options import Options
from tutor_pipeline.people.access import sign_ins
from tutor_pipeline.people.access.roles import Role

warehouse = load_settings().locate().warehouse
with warehouse.connect() as database:
    secret = sign_ins.begin(database, "ann", datetime.now(UTC), Role.VIEWER)
options = Options("127.0.0.1", 3040)
cookies = {options.cookie: secret}
with TestClient(create_app(warehouse, options), options.url, cookies=cookies) as browser:
    print(browser.get("/newcomers").text)
"""


def test_a_page_is_served_and_stands_among_the_others(copy):
    page = copy.python(PAGE)
    assert '<a href="/newcomers" aria-current="page">Newcomers' in page
    assert page.count('<li><a href="/tutors/') == 20


def test_a_table_is_made_and_a_person_erased_from_it(copy):
    with psycopg.connect(copy.url) as connection:
        connection.execute(
            "insert into ops.tutor_goals values ('T-gone', now(), 'x'),"
            " ('T-stays', now(), 'asked T-gone to help')"
        )
    copy.run("forget", "--tutor", "T-gone", "--yes", "--by", "Ann")
    assert copy.query("select tutor_id, goal from ops.tutor_goals") == [
        ("T-stays", "asked (erased) to help")
    ]


def test_what_is_high_and_what_is_told_of_it_have_the_same_number(copy):
    high = dict(
        copy.query(
            "select tutor_id, is_high_reschedule from marts.tutor_aggregates"
            " where tutor_id in ('Often', 'Between', 'Seldom')"
        )
    )
    assert high == {"Often": True, "Between": False, "Seldom": False}
    told = dict(
        copy.query(
            "select tutor_id, display_text from ops.tutor_insights"
            " where category = 'high_reschedule_share' and is_active"
        )
    )
    assert told["Often"].endswith("(more than 20 % of at least 5 is high)")
    assert "Between" not in told


def test_attention_says_20_percent(copy):
    shown = copy.run("attention", "--limit", "100")
    (title,) = [line for line in shown.splitlines() if "Often" in line and line[0].isdigit()]
    assert "reschedules over 20 %" in title
    assert "over 15 %" not in shown
    assert "more than 20 %" in copy.run("tutor", "Often")


def test_messages_say_20_percent(copy):
    copy.run("notify", "send")
    messages = copy.query(
        "select text_body, html_body from ops.messages where 'Often' = any(tutor_ids)"
    )
    assert messages
    for bodies in messages:
        for body in bodies:
            assert "reschedules over 20 %" in body
            assert "over 15 %" not in body


def test_what_a_rule_shows_is_what_it_says(copy):
    shown = copy.run("rules", "show", "high_reschedule_share")
    assert "more than 20 % of at least 5 is high" in " ".join(shown.split())
    assert "15 %" not in shown
