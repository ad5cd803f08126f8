"""The verb `scores judge`: evaluates departure_v1 on synthetic platforms with known truth."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import psycopg
import typer
from filelock import FileLock, Timeout
from psycopg import sql
from rich.table import Table

from tutor_pipeline.cli.console import done, emit_json, note, out
from tutor_pipeline.cli.options import AsJson
from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.settings import load_settings
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse

END = date(2026, 6, 27)
"""The last day of every judged platform, fixed so that the platforms are always the same. It is a
Saturday: the tested days are Fridays, when the week's reports are oldest.
"""

SESSIONS_A_DAY = 0.4
"""Per tutor, unless the world sets it."""

_PACKAGE = Path(__file__).parents[1]
_MODELS = ("+tutor_evidence_history", "tutor_departures")


def judge(
    worlds: Annotated[
        list[str] | None,
        typer.Option("--world", metavar="NAME", help="Only this world. May be repeated."),
    ] = None,
    tutors: Annotated[
        list[int] | None,
        typer.Option("--tutors", min=20, metavar="N", help="Sizes. Default: 150 and 1000."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, metavar="N", help="Seeds 1 to N.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Measure the recall of the forecast for those truly at risk, on many synthetic platforms.

    Each platform is generated on a separate server, judged with nothing learned and after 26 weeks
    of learning, and its result is stored, so that the next call continues. A change of the scorer
    or the generator starts again. 150 tutors take about 10 s, 1,000 tutors half a minute.

    Example: [bold]tutor-pipeline scores judge --world ordinary --tutors 150 --seeds 3[/bold]
    """
    from tutor_pipeline.judgement.scores import known_truth as scores
    from tutor_pipeline.sources.synthetic.worlds import WORLDS

    names = list(worlds or WORLDS)
    if unknown := [name for name in names if name not in WORLDS]:
        raise UsageError(f"there is no world {unknown[0]}; there are {', '.join(WORLDS)}")
    sizes = sorted(set(tutors or (150, 1_000)))
    folder = load_settings().home / "judge"
    results = folder / _fingerprint()
    results.mkdir(parents=True, exist_ok=True)
    plan = [(name, size, seed) for size in sizes for name in names for seed in range(1, seeds + 1)]
    found: dict[tuple[str, int], list[scores.Judged]] = {}
    rows = []
    with _server(folder) as server:
        for number, (name, size, seed) in enumerate(plan, start=1):
            file = results / f"{name}-{size}-{seed}.npz"
            began = time.monotonic()
            judged = _load(file)
            if judged is None:
                judged = _judge(server, folder, name, size, seed)
                _save(file, judged)
            found.setdefault((name, size), []).append(judged)
            figures = scores.figures([judged])
            rows.append({"world": name, "tutors": size, "seed": seed, **figures})
            note(f"{number} of {len(plan)}: {_line(rows[-1])} ({time.monotonic() - began:.0f} s)")
    table = [
        {
            "world": name,
            "tutors": size,
            "seeds": len(judged),
            **scores.figures(judged),
            **_worst(rows, name, size),
        }
        for (name, size), judged in found.items()
    ]
    if as_json:
        emit_json({"platforms": rows, "worlds": table})
        return
    _show(table)
    done(f"Results in {results}")


def _fingerprint() -> str:
    """A hash of everything that the result depends on."""
    digest = hashlib.sha256()
    files = [
        *(_PACKAGE / "judgement" / "scores" / "departure").rglob("*"),
        *(_PACKAGE / "sources" / "synthetic").glob("*.py"),
        _PACKAGE / "judgement" / "scores" / "known_truth.py",
        Path(__file__),
        _PACKAGE.parent / "dbt_project" / "dbt_project.yml",
        *(_PACKAGE.parent / "dbt_project").rglob("*.sql"),
    ]
    for file in sorted(files):
        if file.suffix in {".py", ".yml", ".sql"}:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


class _server:  # noqa: N801 (a context manager)
    """A separate server, so no other database is touched. Stopped at the end; one at a time."""

    def __init__(self, folder: Path) -> None:
        from tutor_pipeline.core.warehouse.embedded import EmbeddedServer

        self._only_one = FileLock(folder / "judge.lock", timeout=0)
        self._server = EmbeddedServer(folder)

    def __enter__(self) -> Any:
        try:
            self._only_one.acquire()
        except Timeout as error:
            raise RefusedError(
                "platforms are being judged already, in the same TUTOR_HOME.\n"
                "Wait for it, or set another TUTOR_HOME; what is judged is kept."
            ) from error
        self._server.ensure_running()
        self._drop_what_was_left()
        return self._server

    def _drop_what_was_left(self) -> None:
        """Drop the platforms of a killed run."""
        with psycopg.connect(self._server.url("postgres"), autocommit=True) as database:
            for (name,) in database.execute(
                "select datname from pg_database where datname like 'judge\\_%'"
            ).fetchall():
                database.execute(
                    sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
                )

    def __exit__(self, *failure: object) -> None:
        self._server.stop()
        self._only_one.release()


def _judge(server: Any, home: Path, world: str, tutors: int, seed: int) -> Any:
    """Generate one platform, build what the forecast reads, judge it."""
    from tutor_pipeline.core.warehouse import migrate
    from tutor_pipeline.judgement.scores import known_truth as scores
    from tutor_pipeline.judgement.scores.departure import outcomes
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
    from tutor_pipeline.judgement.scores.storage import evidence_history
    from tutor_pipeline.steps.backtest_tutors import read_truth

    name = f"judge_{uuid4().hex}"
    maintenance = server.url("postgres")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    warehouse = Warehouse(server.url(name), Schemas(), "UTC", "UTC")
    try:
        migrate.upgrade(warehouse)
        _fill(warehouse, home, world, tutors, seed)
        with warehouse.connect() as database:
            days = evidence_history.days(database, TUTORS, END)
            weeks = [
                outcomes.standard(TUTORS, week)
                for week in evidence_history.weeks(database, TUTORS, days, {})
            ]
            truth = read_truth(database, days)
            departures = dict(
                database.execute(
                    "select tutor_id, departed_on from {marts}.tutor_departures"
                ).fetchall()
            )
        platform = scores.Platform(
            weeks,
            {(row["tutor_id"], row["day"]): row["is_at_risk"] for row in truth},
            departures,
            END - timedelta(days=scores.DAYS - 1),
        )
        return scores.judge(platform, _YEARLY_RATE)
    finally:
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )


def _fill(warehouse: Warehouse, home: Path, world: str, tutors: int, seed: int) -> None:
    """Generate a platform and build what the forecast reads."""
    from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, end_of_day, write_header
    from tutor_pipeline.judgement.scores import known_truth as scores
    from tutor_pipeline.metrics import dbt
    from tutor_pipeline.sources.synthetic import Parameters, generate
    from tutor_pipeline.sources.synthetic.load import load
    from tutor_pipeline.sources.synthetic.worlds import WORLDS

    busy = WORLDS[world].sessions_a_week is not None
    sessions: dict[str, Any] = {} if busy else {"sessions_per_day": round(SESSIONS_A_DAY * tutors)}
    population = generate(
        Parameters(
            end=END,
            tutors=tutors,
            days=scores.DAYS,
            seed=seed,
            world=world,
            interventions=False,
            experiments=False,
            **sessions,
        )
    )
    run = RefreshRun(uuid4().hex, end_of_day(END, "UTC"), None)
    with warehouse.connect() as database:
        load(database, population)
    write_header(warehouse, run)
    dbt.invoke(["run", "--select", *_MODELS], dbt.dbt_environment(warehouse, run.run_id, home))


_YEARLY_RATE = 0.25


def _save(file: Path, judged: Any) -> None:
    """Write atomically, so that a killed run leaves no partial result."""
    import numpy as np

    arrays = {
        f"{part}.{name}": values
        for part in ("state", "departure")
        for name, values in getattr(judged, part).items()
    }
    partial = file.with_suffix(".partial")
    with partial.open("wb") as stream:
        np.savez_compressed(stream, counts=json.dumps([judged.tutors, judged.departures]), **arrays)
    partial.replace(file)


def _load(file: Path) -> Any:
    import numpy as np

    from tutor_pipeline.judgement.scores.known_truth import Judged

    if not file.exists():
        return None
    with np.load(file) as stored:
        tutors, departures = json.loads(str(stored["counts"]))
        parts: dict[str, dict[str, Any]] = {"state": {}, "departure": {}}
        for key in stored.files:
            part, _, name = key.partition(".")
            if name:
                parts[part][name] = stored[key]
    return Judged(tutors, departures, parts["state"], parts["departure"])


def _worst(rows: Sequence[dict[str, Any]], name: str, size: int) -> dict[str, Any]:
    """The worst seed and the median of each figure that has a goal."""
    result: dict[str, Any] = {}
    for figure in ("found_priors", "found_learned", "ratio_priors", "ratio_learned"):
        values = sorted(
            (row[figure], row["seed"])
            for row in rows
            if (row["world"], row["tutors"]) == (name, size) and row[figure] is not None
        )
        if values:
            result[f"worst_{figure}"], result[f"worst_seed_{figure}"] = values[0]
            result[f"median_{figure}"] = values[len(values) // 2][0]
    return result


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['world']}, {count(row['tutors'], 'tutor')}, seed {row['seed']}: found"
        f" {_percent(row['found_priors'])} with nothing learned, {_percent(row['found_learned'])}"
        f" after {count(round(row['departures']), 'departure')}, ceiling"
        f" {_percent(row['found_ceiling'])}"
    )


_HEADINGS = (
    "world",
    "tutors",
    "seeds",
    "found (worst seed)",
    "÷ ceiling",
    "first 8",
    "High: right of all",
    "found (worst)",
    "÷ ceiling",
    "first 8",
    "High: right of all",
    "B: AUC (alone)",
    "slope",
)


def _show(table: Sequence[dict[str, Any]]) -> None:
    shown = Table(*_HEADINGS, box=None, title="nothing learned | after 26 weeks")
    for row in table:
        shown.add_row(row["world"], f"{row['tutors']:,}", str(row["seeds"]), *_cells(row))
    out.print(shown)


def _cells(row: dict[str, Any]) -> Iterator[str]:
    for name in ("priors", "learned"):
        worst = row.get(f"worst_found_{name}")
        yield f"{_percent(row[f'found_{name}'])} ({_percent(worst)})"
        yield _number(row[f"ratio_{name}"])
        yield _number(row[f"first_{name}"])
        right, high = row[f"high_right_{name}"], row[f"high_{name}"]
        share = f" ({right / high:.0%})" if high else ""
        yield f"{right:.0f} of {high:.0f}{share}"
    yield f"{_number(row['departure_auc'])} ({_number(row['departure_auc_alone'])})"
    yield _number(row["calibration_slope"])


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
