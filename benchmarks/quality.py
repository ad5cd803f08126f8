"""All suites over a real refresh: seconds and memory of the process that evaluates them.

    .venv/bin/python benchmarks/quality.py                          # 22,500 and 1,000,000 sessions
    .venv/bin/python benchmarks/quality.py --sessions 22500 --runs 5

Each size gets an embedded server and a home of its own in a temporary folder, a synthetic platform
and one `enrich`. Then, interleaved, each in a process of its own:

suites     all suites by Great Expectations in PostgreSQL, as a refresh does it
in SQL     the baseline: the same rules, each as one `select count(*)` without any library
all fail   the suites when every session breaks a rule: a million failing rows stay in the database
in pandas  the rules on columns of fct_sessions over a DataFrame (once; not with --no-pandas)

"import" is the time that Great Expectations takes to be imported, which a process pays once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

COMMAND = [sys.executable, "-c", "from tutor_pipeline.cli import main; main()"]
ALL_FAIL = (
    "alter table marts.fct_sessions add column kept double precision;"
    " update marts.fct_sessions set kept = tutor_talk_ratio, tutor_talk_ratio = 7,"
    " actual_duration_minutes = 1000",
    "update marts.fct_sessions set tutor_talk_ratio = kept, actual_duration_minutes = 60;"
    " alter table marts.fct_sessions drop column kept; vacuum analyze marts.fct_sessions",
)


def evaluate_suites() -> dict[str, float]:
    """In a process of its own: all suites, as a refresh does it."""
    from tutor_pipeline.judgement.quality import run
    from tutor_pipeline.judgement.quality.suites import load_suites

    began = time.perf_counter()
    run.great_expectations()
    imported = time.perf_counter()
    failed = 0
    for suite in load_suites():
        outcomes = run.run_suite(suite, _warehouse(), datetime.now(UTC))
        failed += sum(not outcome.passed for outcome in outcomes)
        assert not [each for each in outcomes if each.message], outcomes
    return {
        "import": imported - began,
        "seconds": time.perf_counter() - imported,
        "failed": failed,
    }


def evaluate_in_sql() -> dict[str, float]:
    """In a process of its own: the same rules, one count each."""
    from tutor_pipeline.judgement.quality.run import placeholders
    from tutor_pipeline.judgement.quality.suites import QUERY, load_suites

    warehouse = _warehouse()
    fill = placeholders(warehouse, datetime.now(UTC))
    began = time.perf_counter()
    with warehouse.connect() as database:
        for suite in load_suites():
            table = "{" + suite.asset.replace("/", "}.")
            for check in suite.checks:
                kwargs = check.kwargs
                if check.is_query:
                    query = kwargs[QUERY]
                elif "column" not in kwargs:
                    query = f"select from {table}"
                elif "value_set" in kwargs:
                    words = ", ".join(f"'{word}'" for word in kwargs["value_set"])
                    query = f"select from {table} where {kwargs['column']} not in ({words})"
                elif "min_value" in kwargs:
                    query = (
                        f"select from {table} where not {kwargs['column']}"
                        f" between {kwargs['min_value']} and {kwargs['max_value']}"
                    )
                else:
                    query = f"select from {table} where {kwargs['column']} is null"
                database.execute(f"select count(*) from ({fill(query)}) as failing")
    return {"seconds": time.perf_counter() - began}


def evaluate_in_pandas() -> dict[str, float]:
    """In a process of its own: the rules on columns of fct_sessions over a DataFrame."""
    import pandas
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    from tutor_pipeline.judgement.quality import run
    from tutor_pipeline.judgement.quality.suites import load_suites

    (suite,) = (suite for suite in load_suites() if suite.name == "sessions")
    library = run.great_expectations()
    began = time.perf_counter()
    with _warehouse().connect() as database:
        cursor = database.execute("select * from marts.fct_sessions")
        assert cursor.description is not None
        frame = pandas.DataFrame(
            cursor.fetchall(), columns=[each[0] for each in cursor.description]
        )
    context = library.get_context(mode="ephemeral")
    batch = (
        context.data_sources.add_pandas("frames")
        .add_dataframe_asset("sessions")
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": frame})
    )
    expectations = library.ExpectationSuite("suite")
    for check in suite.checks:
        if not check.is_query:
            expectations.add_expectation(
                ExpectationConfiguration(
                    type=check.expectation, kwargs=dict(check.kwargs)
                ).to_domain_obj()
            )
    batch.validate(expectations)
    return {"seconds": time.perf_counter() - began}


def _warehouse() -> object:
    from tutor_pipeline.core.settings import load_settings

    return load_settings().locate().warehouse


WAYS = {"suites": evaluate_suites, "in SQL": evaluate_in_sql, "in pandas": evaluate_in_pandas}


def run(home: Path, *command: str) -> str:
    result = subprocess.run(
        command,
        env={**os.environ, "TUTOR_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        sys.exit(f"{command} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def execute(home: Path, statements: str) -> None:
    code = (
        "import sys; from tutor_pipeline.core.settings import load_settings\n"
        "with load_settings().locate().warehouse.connect(autocommit=True) as connection:\n"
        "    for statement in sys.argv[1].split(';'): connection.execute(statement)"
    )
    run(home, sys.executable, "-c", code, statements)


def measure(sessions: int, runs: int, with_pandas: bool) -> None:
    home = Path(tempfile.mkdtemp(prefix="tutor-benchmark-"))
    home.chmod(0o755)  # as root, the server runs as another user
    tutors = max(150, sessions // 100)
    try:
        arguments = ["--tutors", str(tutors), "--sessions-per-day", str(round(sessions / 90))]
        run(home, *COMMAND, "generate", *arguments)
        refreshed = json.loads(run(home, *COMMAND, "enrich", "--force", "--json"))
        rows = json.loads(run(home, *COMMAND, "status", "--json"))["rows"]["platform.sessions"]
        print(
            f"\n{rows:,} sessions; a refresh spent {refreshed['seconds']['checks']:.1f} s on checks"
        )
        found: dict[str, list[dict[str, float]]] = {}

        def one(name: str, way: str) -> None:
            found.setdefault(name, []).append(
                json.loads(run(home, sys.executable, __file__, "--way", way))
            )

        for _ in range(runs):
            one("suites", "suites")
            one("in SQL", "in SQL")
        execute(home, ALL_FAIL[0])
        one("all fail", "suites")
        execute(home, ALL_FAIL[1])
        if with_pandas:
            one("in pandas", "in pandas")
        baseline = median(each["seconds"] for each in found["in SQL"])
        for name, results in found.items():
            seconds = sorted(each["seconds"] for each in results)
            memory = max(each["megabytes"] for each in results)
            imports = [each["import"] for each in results if "import" in each]
            print(
                f"  {name:10} median {median(seconds):6.2f} s   min {seconds[0]:6.2f}"
                f"   max {seconds[-1]:6.2f}   {median(seconds) / baseline:5.2f} x SQL"
                f"   {memory:5.0f} MB" + (f"   import {median(imports):.1f} s" if imports else "")
            )
    finally:
        run(home, *COMMAND, "down")
        shutil.rmtree(home)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=[22_500, 1_000_000])
    parser.add_argument("--runs", type=int, default=3, help="rounds of each size (default 3)")
    parser.add_argument("--no-pandas", action="store_true", help="leave pandas out (slow, large)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        result = WAYS[options.way]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**result, "megabytes": peak}))
        return
    for sessions in options.sessions:
        measure(sessions, options.runs, not options.no_pandas)


if __name__ == "__main__":
    main()
