"""Verbs on rules (list, show, check, page) and on exceptions of single tutors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from psycopg import IsolationLevel
from rich.markup import escape
from rich.table import Table

from tutor_pipeline.cli.console import done, emit_json, note, out, warn
from tutor_pipeline.cli.installation import Session, open_session
from tutor_pipeline.cli.options import AsJson, By, IdForm, IdsAs, actor, moment
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import MAX_SKIPPED_SHARE, Change, Kind, Override, Step
from tutor_pipeline.core.formatting import count, visible
from tutor_pipeline.core.settings import load_settings
from tutor_pipeline.judgement.lifecycle import overrides as exceptions
from tutor_pipeline.judgement.rules import describe
from tutor_pipeline.judgement.rules.catalogue import Catalogue, load_catalogue
from tutor_pipeline.judgement.rules.inputs import nearest
from tutor_pipeline.judgement.rules.profiles import shipped
from tutor_pipeline.judgement.rules.rule import Rule
from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.people.reports import alert_queries, finding_queries, tutor_queries
from tutor_pipeline.steps import preview

Profile = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE", help="A shipped profile or your own file. Default: TUTOR_RULE_PROFILE."
    ),
]
OfKind = Annotated[Kind | None, typer.Option(help="Only rules of this kind.")]
RuleId = Annotated[str, typer.Argument(metavar="RULE", help="The id of a rule.")]


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    group = typer.Typer(
        help="Rules: list, show, check, and the exceptions of single tutors.",
        no_args_is_help=True,
    )
    group.command("list")(list_)
    group.command()(show)
    group.command()(check)
    group.command()(override)
    group.command()(overrides)
    group.command()(page)
    app.add_typer(group, name="rules")


def list_(profile: Profile = None, kind: OfKind = None, as_json: AsJson = False) -> None:
    """List the rules of a profile, one line each.

    Example: [bold]tutor-pipeline rules list --kind alert --profile standard[/bold]
    """
    catalogue = _load(profile)
    rules = [rule for rule in catalogue.rules if kind is None or rule.kind is kind]
    if as_json:
        emit_json([_as_dict(rule) for rule in rules])
        return
    for each in Kind:
        of_kind = [rule for rule in rules if rule.kind is each]
        if not of_kind:
            continue
        table = Table(f"{each} ({catalogue.profile})", "when", box=None)
        for rule in of_kind:
            table.add_row(escape(rule.id), escape(describe.summary(rule)))
        out.print(table)
        out.print()


def show(
    rule_id: RuleId, profile: Profile = None, kind: OfKind = None, as_json: AsJson = False
) -> None:
    """Show one rule in full: conditions, minimums, texts, evidence, file and line.

    Example: [bold]tutor-pipeline rules show high_reschedule_rate[/bold]
    """
    found = _find(_load(profile), rule_id, kind)
    if as_json:
        emit_json([_as_dict(rule) for rule in found])
        return
    for rule in found:
        out.print(f"[bold]{escape(rule.id)}[/bold] ({rule.kind})")
        table = Table(show_header=False, box=None)
        for label, value in describe.details(rule, wide_rows.rule_inputs()):
            table.add_row(f"[bold]{escape(label)}[/bold]", escape(value))
        out.print(table)


def check(
    profile: Profile = None,
    against_data: Annotated[
        bool, typer.Option("--against-data", help="Show what it would change. Changes nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that a profile loads and, against the data, what it would open, resolve and keep.
    Nothing is written.

    Example: [bold]tutor-pipeline rules check --profile own.yml --against-data[/bold]
    """
    catalogue = _load(profile)
    off = sum(1 for rule in catalogue.rules if not rule.is_enabled)
    counts = {str(kind): len(catalogue.of(kind)) for kind in Kind}
    if not against_data:
        if as_json:
            emit_json({"profile": catalogue.profile, "rules": counts, "off": off})
        else:
            shown = ", ".join(count(number, kind) for kind, number in counts.items())
            done(f"{catalogue.profile}: {shown}; {off:,} off")
        return
    session = open_session(note)
    effects = _effects(session, catalogue)
    status = 1 if effects["would_fail"] else 0
    if as_json:
        emit_json({"profile": catalogue.profile, "rules": counts, "off": off, **effects})
        raise typer.Exit(status)
    out.print(
        f"Profile [bold]{escape(catalogue.profile)}[/bold] on the metrics as of"
        f" {effects['as_of']:%Y-%m-%d %H:%M UTC}: what a run would do now"
    )
    table = Table("kind", "rule", "evaluated", "would open", "keep", "resolve", box=None)
    for row in effects["effects"]:
        table.add_row(
            row["kind"],
            escape(row["rule"]) + (" (off or gone)" if row["evaluated"] is None else ""),
            "–" if row["evaluated"] is None else f"{row['evaluated']:,}",
            *(f"{row[name]:,}" for name in ("open", "keep", "resolve")),
        )
    out.print(table)
    now, then = effects["tutors_with_an_alert"]["now"], effects["tutors_with_an_alert"]["then"]
    out.print(f"Tutors with an open alert: {now:,} now, {then:,} then")
    if (at_threshold := effects["at_threshold"]) is not None:
        out.print(
            "At the threshold of an alert, and not unusual enough for it:"
            f" {at_threshold:,} (insights)"
        )
    for tutor_id, reason in effects["unreadable"].items():
        warn(f"tutor {tutor_id} would be skipped: {reason}")
    if effects["would_fail"]:
        warn(f"more than {MAX_SKIPPED_SHARE:.0%} would be skipped: a run would fail at its end")
    raise typer.Exit(status)


def override(
    tutor_id: Annotated[
        str, typer.Argument(metavar="TUTOR", help="The tutor's id, or its first characters.")
    ],
    rule_id: RuleId,
    threshold: Annotated[
        float | None, typer.Option(help="Threshold for the rule's first condition.")
    ] = None,
    disable: Annotated[
        bool, typer.Option("--disable", help="Switch the rule off for the tutor.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the exception.")] = False,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why.")] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="End of the exception: the start of this day."),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="Which kind of rule.")] = Kind.ALERT,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Make an exception to a rule for one tutor: another threshold, or the rule off.

    It applies from the next refresh on.

    Example: [bold]tutor-pipeline rules override T0064 high_reschedule_rate --threshold 8
    --reason "on leave every Friday" --until 2027-01-01[/bold]
    """
    if sum((threshold is not None, disable, remove)) != 1:
        raise UsageError("say one of --threshold NUMBER, --disable, --remove")
    if not remove and not (reason and reason.strip()):
        raise UsageError("say why: --reason TEXT (it is shown beside the exception)")
    who = actor(by)
    if not remove:
        (rule,) = _find(_load(None), rule_id, kind)
        if threshold is not None:
            _check_threshold(rule, threshold)
    session = open_session(note)
    warehouse = session.warehouse
    with warehouse.connect() as database:
        if remove:
            tutor_id = _whole(database, tutor_id, exceptions.list_all(database))
            changed = exceptions.remove(database, kind, tutor_id, rule_id, datetime.now(UTC))
        else:
            tutor_id = tutor_queries.profile_of(database, tutor_id)["tutor_id"]
            exceptions.put(
                database,
                kind,
                Override(tutor_id, rule_id, threshold, disable),
                reason=str(reason),
                by=who,
                at=datetime.now(UTC),
                expires_at=moment(until, "--until", warehouse.timezone) if until else None,
            )
            changed = True
    if as_json:
        emit_json({"tutor_id": tutor_id, "kind": kind, "rule_id": rule_id, "changed": changed})
    elif remove:
        done("The rule counts for the tutor again" if changed else "There was no such exception")
    else:
        what = "is off" if disable else f"has the threshold {threshold:g}"
        done(f"{rule_id} {what} for {tutor_id} from the next refresh on")


def _check_threshold(rule: Rule, threshold: float) -> None:
    """Raise UsageError unless the rule's first condition can have this threshold."""
    if (why := rule.refusal(threshold)) is not None:
        raise UsageError(
            f"--threshold {threshold:g}: {why}; --disable switches the rule off for the tutor"
        )


def _whole(database: Any, given: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the whole id of a tutor, who may have left and have an exception yet."""
    known = [*tutor_queries.short_ids(database), *(row["tutor_id"] for row in rows)]
    return tutor_queries.id_of(given, dict.fromkeys(known))


def overrides(
    tutor: Annotated[
        str | None, typer.Option("--tutor", metavar="ID", help="Only of this tutor.")
    ] = None,
    ids_as: IdsAs = IdForm.SHORT,
    as_json: AsJson = False,
) -> None:
    """List the exceptions of single tutors.

    Example: [bold]tutor-pipeline rules overrides --tutor T0064[/bold]
    """
    session = open_session(note)
    with session.warehouse.connect() as database:
        rows = exceptions.list_all(database)
        if tutor is not None:
            tutor = _whole(database, tutor, rows)
        short = tutor_queries.short_ids(database) if ids_as is IdForm.SHORT else {}
    rows = [row for row in rows if tutor is None or row["tutor_id"] == tutor]
    if as_json:
        emit_json(rows)
        return
    if not rows:
        out.print("No exceptions.")
        return
    table = Table("tutor", "kind", "rule", "instead", "why", "by", "until", box=None)
    for row in rows:
        table.add_row(
            escape(short.get(row["tutor_id"], row["tutor_id"])),
            row["kind"],
            escape(row["rule_id"]),
            "off" if row["disabled"] else f"{row['threshold']:g}",
            escape(visible(row["reason"])),
            escape(visible(row["set_by"])),
            f"{row['expires_at']:%Y-%m-%d}" if row["expires_at"] else "–",
        )
    out.print(table)


def page() -> None:
    """Print the page of all rules of the shipped profiles, in Markdown (docs/rules.md).

    Example: [bold]tutor-pipeline rules page > docs/rules.md[/bold]
    """
    inputs = wide_rows.rule_inputs()
    catalogues = [load_catalogue(name, inputs, thresholds()) for name in shipped()]
    typer.echo(describe.page(catalogues, thresholds()), nl=False)


def _load(profile: str | None) -> Catalogue:
    chosen = profile or load_settings().rule_profile
    return load_catalogue(chosen, wide_rows.rule_inputs(), thresholds())


def _find(catalogue: Catalogue, rule_id: str, kind: Kind | None) -> list[Rule]:
    of_kind = [rule for rule in catalogue.rules if kind is None or rule.kind is kind]
    found = [rule for rule in of_kind if rule.id == rule_id]
    if not found:
        near = nearest(rule_id, {rule.id: rule for rule in of_kind})
        raise UsageError(
            f"profile {catalogue.profile} has no {kind or 'rule'} {rule_id}{near}.\n"
            "See them with: tutor-pipeline rules list"
        )
    return found


def _as_dict(rule: Rule) -> dict[str, Any]:
    return {
        "kind": rule.kind,
        "id": rule.id,
        "enabled": rule.is_enabled,
        "severity": rule.severity,
        "when": [
            {
                "metric": condition.metric,
                "op": condition.op,
                "value": condition.value,
                "minimum_exposure": condition.minimum_exposure,
                "minimum_share": condition.minimum_share,
            }
            for condition in rule.when
        ],
        "requires": dict(rule.requires),
        "texts": {name: text.text for name, text in rule.texts.items()},
        "unusual": None if rule.unusual is None else asdict(rule.unusual),
        "evidence": rule.evidence,
        "source": rule.source,
        "version": rule.version,
    }


def _effects(session: Session, catalogue: Catalogue) -> dict[str, Any]:
    """By rule, what a run under these rules would do to the stored rows."""
    warehouse = session.warehouse
    rows: list[dict[str, Any]] = []
    alerts: dict[str, set[str]] = {}
    unreadable: dict[str, str] = {}
    would_fail = False
    with warehouse.connect() as database:
        database.connection.isolation_level = (
            IsolationLevel.REPEATABLE_READ
        )  # one moment for all kinds
        for kind in Kind:
            wide = wide_rows.read(database, "", catalogue.columns(kind))
            if kind is not Kind.ALERT:
                _assume(wide.rows, alerts)
            found, changes = preview.changes(database, catalogue, kind, wide)
            unreadable |= found.skipped
            would_fail |= found.skipped_share > MAX_SKIPPED_SHARE
            rows += _by_rule(kind, changes, found.evaluated)
            if kind is Kind.ALERT:
                before = finding_queries.open_findings(database, "alerts")
                alerts = _open_after(changes, alert_queries.open_alert_types(database))
    then = sum(1 for types in alerts.values() if types)
    return {
        "as_of": wide.as_of,
        "effects": rows,
        "at_threshold": _at_threshold(catalogue, rows),
        "tutors_with_an_alert": {"now": before["tutors_with_one"], "then": then},
        "unreadable": unreadable,
        "would_fail": would_fail,
    }


def _at_threshold(catalogue: Catalogue, rows: Iterable[Mapping[str, Any]]) -> int | None:
    """Number of pairs (tutor, alert) that meet the conditions but are not unusual; None if no rule
    requires unusual values.
    """
    beside = {rule.id for rule in catalogue.rules if rule.beside is not None}
    if not beside:
        return None
    of_them = [row for row in rows if row["kind"] is Kind.INSIGHT and row["rule"] in beside]
    return sum(int(row["open"]) + int(row["keep"]) for row in of_them)


_AFTER: Mapping[Step, str] = {
    Step.OPENED: "open",
    Step.REOPENED: "open",
    Step.CONFIRMED: "keep",
    Step.ESCALATED: "keep",
    Step.EASED: "keep",
    Step.RESOLVED: "resolve",
}


def _by_rule(
    kind: Kind, changes: Iterable[Change], evaluated: Mapping[str, Collection[object]]
) -> list[dict[str, Any]]:
    count = Counter((change.rule_id, _AFTER[change.step]) for change in changes)
    gone = sorted({rule_id for rule_id, _ in count} - set(evaluated))
    return [
        {
            "kind": kind,
            "rule": rule_id,
            "evaluated": len(evaluated[rule_id]) if rule_id in evaluated else None,
            **{name: count[rule_id, name] for name in ("open", "keep", "resolve")},
        }
        for rule_id in (*evaluated, *gone)
    ]


def _open_after(
    changes: Iterable[Change], types_by_tutor: dict[str, set[str]]
) -> dict[str, set[str]]:
    """The alerts that each tutor would have open after the changes."""
    for change in changes:
        types = types_by_tutor.setdefault(change.tutor_id, set())
        if change.step is Step.RESOLVED:
            types.discard(change.rule_id)
        else:
            types.add(change.rule_id)
    return types_by_tutor


def _assume(rows: Iterable[dict[str, Any]], alerts: Mapping[str, set[str]]) -> None:
    """Replace the open alerts in rows by those that would be open."""
    prefix = f"{wide_rows.OPEN_ALERTS}."
    for row in rows:
        for name in row:
            if name.startswith(prefix):
                row[name] = name.removeprefix(prefix) in alerts.get(row["tutor_id"], ())
