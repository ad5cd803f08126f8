"""Rules in words, for people: one line, all there is to know, and the page in the docs.

Belongs here: how a rule is written down. Does not belong here: where the text goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tutor_pipeline.core.findings import Kind
from tutor_pipeline.judgement.rules.catalogue import Catalogue, Condition, Rule
from tutor_pipeline.judgement.rules.inputs import Column, Inputs

_SIGNS = {">=": "≥", "<=": "≤"}
_MEASURED = Path(__file__).parent / "catalogue" / "measured.md"
"""What the profiles list on made-up platforms: benchmarks/attention.py."""
_SAME = "the same"
_ABSENT = "–"


def conditions(rule: Rule) -> str:
    """`no_show_tutor_30d ≥ 3 and no_show_rate_30d ≥ 0.05`."""
    return " and ".join(map(_condition, rule.when))


def minimums(rule: Rule) -> str:
    """The counts under which the rule is not evaluated: `avg_talk_ratio_n ≥ 5`; may be empty.

    The one session that every metric needs is left out.
    """
    counts: dict[str, int] = {}
    of_conditions = [(each.exposure, each.minimum_exposure) for each in rule.when]
    for name, minimum in (*of_conditions, *rule.requires.items()):
        if name is not None and minimum > 1:
            counts[name] = max(minimum, counts.get(name, 0))
    return " and ".join(f"{name} ≥ {minimum}" for name, minimum in counts.items())


def summary(rule: Rule) -> str:
    """One line: severity (or type, or icon) · conditions · minimums; `off:` first when it is."""
    parts = [_label(rule), conditions(rule)]
    if asked := unusual(rule):
        parts.append(asked)
    if needed := minimums(rule):
        parts.append(f"needs {needed}")
    return ("" if rule.is_enabled else "off: ") + " · ".join(parts)


def unusual(rule: Rule) -> str:
    """`surely over 1.5 times the others'`, with the metric where it is another than that of the
    principal condition; empty where nothing is asked.
    """
    asked = rule.unusual
    if asked is None:
        return ""
    metric = "" if asked.metric == rule.when[0].metric else f"{asked.metric} "
    if asked.times is not None:
        return f"{metric}surely over {asked.times:g} times the others'"
    assert asked.by is not None
    way = "above" if asked.by > 0 else "below"
    return f"{metric}surely {abs(asked.by):g} {way} the others'"


def details(rule: Rule, inputs: Mapping[str, Mapping[str, Column]]) -> list[tuple[str, str]]:
    """What there is to know of a rule beside its id and kind, as (label, value).

    A label may come more than once (`when`: one per condition).

    `inputs` are those of `load_catalogue`; the description of a column is added where it has one.
    """
    columns = Inputs(inputs)

    def described(words: str, name: str) -> str:
        description = columns.description(name)
        return f"{words} ({description.rstrip('.')})" if description else words

    lines = [("in force", "yes" if rule.is_enabled else "no (enabled: false)")]
    if rule.severity is not None:
        lines.append(("severity", rule.severity))
    lines += [("when", described(_condition(each), each.metric)) for each in rule.when]
    if rule.unusual is not None:
        each = rule.unusual
        lines.append(("unusual here", described(unusual(rule), each.metric)))
        lines.append(
            (
                "how sure",
                f"{each.level:.0%} to open, {each.keeps:.0%} to stay; at most {each.most:.1%} of"
                " the tutors",
            )
        )
    if needed := minimums(rule):
        lines.append(("needs", needed))
    lines += [(name.replace("_", " "), text.text) for name, text in rule.texts.items()]
    if rule.metric_value is not None:
        lines.append(("shows", described(rule.metric_value, rule.metric_value)))
    if rule.evidence is not None:
        lines.append(("evidence", described(rule.evidence, rule.evidence)))
    return [*lines, ("defined in", rule.source), ("version", rule.version)]


def page(catalogues: Sequence[Catalogue]) -> str:
    """The Markdown page of some profiles, the default one first: what it has, the others change."""
    profiles = ", ".join(f"`{catalogue.profile}`" for catalogue in catalogues)
    sections = [
        _INTRODUCTION.format(profiles=profiles),
        "## Alerts\n\nWhat somebody should do something about.",
        _table(catalogues, Kind.ALERT, "recommended_action", "recommended action"),
        "## Insights\n\nWhat a tutor does well (strength) and what could be better (growth area).",
        _table(catalogues, Kind.INSIGHT, "coaching_tip", "coaching tip"),
        "## Achievements\n\nBadges: earned once and kept; shown as no longer active while the"
        " criterion is not met.",
        _table(catalogues, Kind.ACHIEVEMENT, "title", "title"),
        _MEASURED.read_text(encoding="utf-8").rstrip(),
        _YOUR_OWN.rstrip(),
    ]
    return "\n\n".join(sections) + "\n"


def _condition(condition: Condition) -> str:
    value = condition.value
    written = str(value).lower() if isinstance(value, bool) else value
    told = f"{condition.metric} {_SIGNS.get(condition.op, condition.op)} {written}"
    share = condition.minimum_share
    return f"{told} ({share:.0%} of {condition.exposure} or more)" if share else told


def _label(rule: Rule) -> str:
    """The word or sign that tells at a glance what a rule's findings are."""
    if rule.severity is not None:
        return rule.severity
    key = "insight_type" if rule.kind is Kind.INSIGHT else "icon"
    return rule.texts[key].text.replace("_", " ")


def _table(catalogues: Sequence[Catalogue], kind: Kind, text: str, heading: str) -> str:
    by_profile = [
        {rule.id: rule for rule in catalogue.rules if rule.kind is kind and rule.beside is None}
        for catalogue in catalogues
    ]
    head = [kind, *(catalogue.profile for catalogue in catalogues), heading]
    rows = [head, ["---"] * len(head)]
    for rule_id in dict.fromkeys(rule_id for rules in by_profile for rule_id in rules):
        rules = [profile.get(rule_id) for profile in by_profile]
        cells = [_cell(rules[0], None), *(_cell(rule, rules[0]) for rule in rules[1:])]
        rows.append([f"`{rule_id}`", *cells, _texts(rules, text)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(rule: Rule | None, default: Rule | None) -> str:
    if rule is None:
        return _ABSENT
    if default is None or rule.version != default.version:
        return summary(rule)
    if rule.is_enabled == default.is_enabled:
        return _SAME
    return "on" if rule.is_enabled else "off"


def _texts(rules: Iterable[Rule | None], name: str) -> str:
    """What the profiles say under one name: mostly one sentence."""
    texts = dict.fromkeys(
        rule.texts[name].text for rule in rules if rule is not None and name in rule.texts
    )
    return "<br>".join(texts).replace("|", "\\|")


_INTRODUCTION = """\
<!-- Written by: tutor-pipeline rules page > docs/rules.md -->

# Rules

Rules are data: YAML files in `tutor_pipeline/judgement/rules/catalogue/`. A rule names
[metrics](metrics.md), each with a threshold, and holds when all its conditions do. What it says,
it says in numbers, and it shows the sessions behind them.

`TUTOR_RULE_PROFILE` picks a profile: {profiles} or a file of your own.
`tutor-pipeline rules list` shows the rules in force, `rules show` all there is to know of one, and
`rules check --against-data` what a profile would open and close before it goes live.

**Missing data is not health.** A rule is *not evaluated* for a tutor where a metric is NULL, or
where less stands behind it than the rule needs: at least one session, and what follows "needs"
below. Then it neither opens nor resolves anything.

**Unusual here.** `adaptive`, the default, asks for the conservative thresholds *and* for evidence
that it is more than chance and more than is usual on this platform: that the tutor's share of
sessions is over 1.5 times the others' (or the tutor's average 0.5 points below theirs), 95 % sure.
The text of the alert says what the others do: "5 of 16; others 1 of 16".

- What is usual comes from all the other tutors, and is as wide as they differ, chance included. A
  refresh of everybody fits it and keeps it in `ops.rule_references`; the refresh after a session
  reads it, so a tutor's alerts depend on nobody who is looked at beside.
- A rule lists at most 1 in 100 tutors (`most`), the furthest out, and no more than one in ten of
  those may be chance. An open alert stays while it is 80 % sure (`keeps`) and its tutor is among
  the furthest 2 in 100; its figure may fall short of the threshold by a quarter. So nothing flaps.
- Who meets the threshold and no more is no alert, and stays visible: the tutor's page and
  `ops.tutor_insights` (type `at_threshold`) say "3 of 8; usual here is 1 of 7".
- With fewer than five others to compare with, the threshold counts alone. So it does for a tutor
  with an exception that asks for less (`rules override`).

**Another profile.** Alerts of the old rules that the new ones evaluate and do not find are closed
(`profile_switched`), also where `auto_resolve` is `false`; what could not be evaluated stays. One
message says what was closed; what people did stays in the history.

**A count or a share.** `high_volume` is for platforms where a tutor gives more than about 30
sessions a month, and fixes the shares that its count rules ask for: five sessions moved out of 150
are 3 %. `adaptive` finds out by itself what is much.

**What is late, poor or too much** is decided where it is counted, and changed there: in the vars
of `dbt_project/dbt_project.yml` (5 minutes, a score under 5.0). The sentences that repeat such a
number are held to it by a test.

What becomes of an alert, and the exceptions for one tutor: [alerts](alerts.md).

In the tables, "–" is a rule that the profile does not have, "off" one that it switches off, and
"the same" means as in the first column."""

_YOUR_OWN = """\
## Your own profile

A file of your own extends one that ships (or another file, by its path) and changes only what it
names. A rule of the same id is changed key by key, `when` as a whole, and `null` takes a key away;
any other rule is new. An id is of a-z, 0-9 and _, a letter first, at most 48 long. What is
misspelt, or can't be, is an error with file and line before anything runs.

```yaml
extends: adaptive

alerts:
  no_show_pattern:                # another threshold, and twice as often as the others
    when:
      - {metric: no_show_tutor_30d, op: ">=", value: 2}
    unusual: {metric: no_show_tutor_30d, times: 2}
  student_churn_risk:             # switched on
    enabled: true

insights:
  rare_praise:                    # a new rule
    insight_type: growth_area     # or strength, which has no coaching_tip
    requires: {sessions_completed_30d: 10}
    when:
      - {metric: avg_reinforcement, op: "<", value: 3, minimum_exposure: 5}
      - {metric: open_alerts.repeated_student_frustration, op: "=", value: false}
    display_text: Seldom praises ({avg_reinforcement:.1f} times per session)
    coaching_tip: Name one thing that the student did well before correcting the next.
    evidence: reinforcement_session_ids
```

| of | key | what it says |
| --- | --- | --- |
| every rule | `when` | the conditions; a tutor's exception changes the threshold of the \
first |
| | `requires` | counts, each with the minimum under which the rule is not evaluated |
| | `enabled` | `false` switches the rule off |
| | `evidence` | the column with the sessions that show it; an alert must have it, because one \
that somebody resolved comes back only with a session processed since |
| a condition | `metric`, `op`, `value` | `op` is one of `>=` `>` `<=` `<` `=` |
| | `minimum_exposure` | how many sessions must stand behind the metric; 1 unless said |
| | `minimum_share` | of a count: at least such a share (0 to 1) of those sessions |
| an alert | `severity` | `warning` or `critical` |
| | `title`, `description`, `recommended_action` | texts |
| | `unusual` | what must be unusual here: a `metric`, and `times` (a count or a share; over so \
many times the others') or `by` (an average; so far from the others', with `scatter`, the column \
with the standard deviation of a session, and `means: 2` where it is a change); `level` 0.95, \
`keeps` 0.8, `most` 0.01; `null`: nothing |
| an insight | `insight_type` | `strength` or `growth_area` |
| | `display_text`, `coaching_tip` | texts; the tip is for a growth area |
| | `metric_value` | the number it shows, if it is not that of the principal condition |
| an achievement | `title`, `description`, `icon` | texts |
| the file | `extends` | a profile that ships, or the path of a file, seen from this one |
| | `auto_resolve` | `false` leaves the resolving of alerts to people |

In texts, `{metric}` is its value; `{metric:.1f}`, `{metric:+.1f}` and `{metric:.0%}` say how to
write it, and `{metric:session|sessions}` writes a count with its noun.

Metrics are the columns of `marts.tutor_aggregates` by their names, and of other inputs by
`input.column`: `tutor_risk` (the churn score: `level`, `score`, `reasons`), `student_risk`
(`students_at_high_risk`, `students`) and `open_alerts`, with a flag per alert of the profile, which
insights and achievements may read.
"""
