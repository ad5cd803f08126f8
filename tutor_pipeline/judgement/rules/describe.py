"""Rules as text for people: a line, all details, and the page in the docs.

Belongs here: how a rule is written. Does not belong here: where the text goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tutor_pipeline.core import markdown
from tutor_pipeline.core.findings import Kind
from tutor_pipeline.core.thresholds import Threshold, fill
from tutor_pipeline.judgement.rules.catalogue import Catalogue
from tutor_pipeline.judgement.rules.inputs import Column, Inputs
from tutor_pipeline.judgement.rules.rule import Condition, Rule
from tutor_pipeline.judgement.rules.usual import KEEPS, LEVEL, MOST

_SIGNS = {">=": "≥", "<=": "≤"}
_MEASURED = Path(__file__).parent / "catalogue" / "measured.md"
"""What the profiles list on synthetic platforms, from benchmarks/attention.py."""
_SAME = "the same"
_ABSENT = "–"


def conditions(rule: Rule) -> str:
    """Return the conditions: `no_show_tutor_30d ≥ 3 and no_show_rate_30d ≥ 0.05`."""
    return " and ".join(map(_condition, rule.when))


def minimums(rule: Rule) -> str:
    """Return the counts under which the rule is not evaluated: `avg_talk_ratio_n ≥ 5`, or "".

    Leaves out the one session that every metric needs.
    """
    counts: dict[str, int] = {}
    of_conditions = [(each.exposure, each.minimum_exposure) for each in rule.when]
    for name, minimum in (*of_conditions, *rule.requires.items()):
        if name is not None and minimum > 1:
            counts[name] = max(minimum, counts.get(name, 0))
    return " and ".join(f"{name} ≥ {minimum}" for name, minimum in counts.items())


def summary(rule: Rule) -> str:
    """Return one line: severity (or type, or icon) · conditions · minimums; `off:` comes first."""
    parts = [_label(rule), conditions(rule)]
    if asked := unusual(rule):
        parts.append(asked)
    if needed := minimums(rule):
        parts.append(f"needs {needed}")
    return ("" if rule.is_enabled else "off: ") + " · ".join(parts)


def unusual(rule: Rule, written: Callable[[str], str] = str) -> str:
    """Return what must be unusual: `surely over 1.5 times the others'`; empty for nothing.

    Names the metric, as `written` writes it, if it is not that of the principal condition.
    """
    asked = rule.unusual
    if asked is None:
        return ""
    metric = "" if asked.metric == rule.when[0].metric else f"{written(asked.metric)} "
    if asked.times is not None:
        return f"{metric}surely over {asked.times:g} times the others'"
    assert asked.by is not None
    way = "above" if asked.by > 0 else "below"
    return f"{metric}surely {abs(asked.by):g} {way} the others'"


def details(rule: Rule, inputs: Mapping[str, Mapping[str, Column]]) -> list[tuple[str, str]]:
    """Return all of a rule except its id and kind, as (label, value). A label may appear more than
    once (`when`: one per condition).

    `inputs` are those of `load_catalogue`; descriptions of columns are added.
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


def page(catalogues: Sequence[Catalogue], thresholds: Mapping[str, Threshold]) -> str:
    """Return the Markdown page of some profiles, the default one first. `thresholds` are those of
    `load_catalogue`.
    """
    profiles = ", ".join(f"`{catalogue.profile}`" for catalogue in catalogues)
    asked = [rule.unusual for each in catalogues for rule in each.asking if rule.unusual]
    sections = [
        fill(_INTRODUCTION, thresholds).format(
            profiles=profiles,
            level=_either(f"{each.level:.0%}".replace("%", " %") for each in asked),
            keeps=_either(f"{each.keeps:.0%}".replace("%", " %") for each in asked),
            times=_either(f"{each.times:g}" for each in asked if each.times is not None),
            by=_either(f"{abs(each.by):g}" for each in asked if each.by is not None),
            most=_either(f"{1 / each.most:.0f}" for each in asked),
        ),
        "## Alerts\n\nFindings that need action.",
        _table(catalogues, Kind.ALERT, "recommended_action", "recommended action"),
        "## Insights\n\nWhat a tutor does well (strength) and what could be better (growth area).",
        _table(catalogues, Kind.INSIGHT, "coaching_tip", "coaching tip"),
        "## Achievements\n\nBadges: earned once and kept; shown as inactive while the criterion is"
        " not met.",
        _table(catalogues, Kind.ACHIEVEMENT, "title", "title"),
        _MEASURED.read_text(encoding="utf-8").rstrip(),
        _YOUR_OWN.rstrip(),
    ]
    return "\n\n".join(sections) + "\n"


def _either(values: Iterable[str]) -> str:
    """Return the different values: `1.5`, or `1.5 or 2`; "–" for none."""
    return " or ".join(sorted(set(values))) or _ABSENT


def _condition(condition: Condition) -> str:
    value = condition.value
    written = str(value).lower() if isinstance(value, bool) else value
    told = f"{condition.metric} {_SIGNS.get(condition.op, condition.op)} {written}"
    share = condition.minimum_share
    return f"{told} ({share:.0%} of {condition.exposure} or more)" if share else told


def _label(rule: Rule) -> str:
    """Return the word or sign that shows what a rule's findings are."""
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
    rows = []
    for rule_id in dict.fromkeys(rule_id for rules in by_profile for rule_id in rules):
        rules = [profile.get(rule_id) for profile in by_profile]
        cells = [_cell(rules[0], None), *(_cell(rule, rules[0]) for rule in rules[1:])]
        rows.append([f"`{rule_id}`", *cells, _texts(rules, text)])
    return markdown.table(head, rows)


def _cell(rule: Rule | None, default: Rule | None) -> str:
    if rule is None:
        return _ABSENT
    if default is None or rule.version != default.version:
        return summary(rule)
    if rule.is_enabled == default.is_enabled:
        return _SAME
    return "on" if rule.is_enabled else "off"


def _texts(rules: Iterable[Rule | None], name: str) -> str:
    """Return the texts of one name in the profiles; mostly they share one sentence."""
    texts = dict.fromkeys(
        rule.texts[name].text for rule in rules if rule is not None and name in rule.texts
    )
    return "<br>".join(texts).replace("|", "\\|")


_INTRODUCTION = """\
<!-- Written by: tutor-pipeline rules page > docs/rules.md -->

# Rules

Rules are data: YAML files in `tutor_pipeline/judgement/rules/catalogue/`. A rule names
[metrics](metrics.md), each with a threshold, and holds when all its conditions hold. Its text gives
the numbers, and the finding lists the sessions behind them.

`TUTOR_RULE_PROFILE` selects a profile: {profiles} or a file of your own.
`tutor-pipeline rules list` shows the rules in force, `rules show` all details of one, and
`rules check --against-data` what a profile would open and close before you switch to it.

**Missing data does not mean that all is well.** A rule is *not evaluated* for a tutor if a metric
is NULL, or if it is based on less data than the rule needs: at least one session, and the counts
after "needs" below. Then the rule neither opens nor resolves anything.

**Unusual here.** `adaptive`, the default, requires the conservative thresholds *and* evidence that
the figure is more than chance and more than is usual on this platform: with {level} probability,
the tutor's share of sessions is over {times} times the others' (or the tutor's average {by} points
below theirs). The text of the alert says what the others do: "5 of 16; others 1 of 16".

- What is usual is computed from all other tutors, and its spread is the one observed, chance
  included. A refresh of all tutors fits it and stores it in `ops.rule_references`; the refresh
  after a session reads it, so a tutor's alerts never depend on which other tutors a refresh covers.
- A rule lists at most 1 in {most} tutors (`most`), those furthest beyond, and at most one in ten of
  them may be there by chance. An open alert stays while the probability is at least {keeps}
  (`keeps`) and its tutor is among the furthest 2 in {most}; its figure may fall short of the
  threshold by a quarter. So alerts do not close and reopen with small changes.
- A tutor who meets the threshold but is not unusual gets no alert, and stays visible: the tutor's
  page and `ops.tutor_insights` (type `at_threshold`) say "3 of 8; usual here is 1 of 7".
- With fewer than five other tutors to compare with, the threshold alone counts. The same is true
  for a tutor with an exception that sets a stricter threshold (`rules override`).

**Another profile.** After a switch, alerts of the old profile that the new rules evaluate and do
not find are closed (`profile_switched`), also with `auto_resolve: false`. Alerts that could not be
evaluated stay open. One message lists what was closed; what people did stays in the history.

**A count or a share.** `high_volume` is for platforms where a tutor gives more than about 30
sessions a month. It sets fixed shares for the rules that count: five rescheduled sessions out of
150 are 3 %. `adaptive` finds the limits from the data.

**What counts as late, poor or too much** is defined where it is counted: change it in the vars of
`dbt_project/dbt_project.yml` ({threshold.late_after_minutes:minute|minutes}, a score under
{threshold.low_score:.1f}). Texts name the var, and show its new number from the next refresh on.

The life of an alert, and exceptions for single tutors: [alerts](alerts.md).

In the tables, "–" is a rule that the profile does not have, "off" a rule that it switches off, and
"the same" means as in the first column."""

_YOUR_OWN = (
    """\
## Your own profile

Your own file extends a shipped profile (or another file, by its path) and changes only what it
names. A rule with the same id is changed key by key, `when` as a whole, and `null` removes a key.
Any other rule is new. An id consists of a-z, 0-9 and _, starts with a letter, and has at most 48
characters. A misspelt name or an impossible value is an error with file and line before anything
runs.

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

| of | key | meaning |
| --- | --- | --- |
| every rule | `when` | the conditions; a tutor's exception changes the threshold of the \
first |
| | `requires` | counts, each with the minimum under which the rule is not evaluated |
| | `enabled` | `false` switches the rule off |
| | `evidence` | the column with the session ids; required for an alert, because an alert that \
somebody resolved comes back only with a session processed since |
| a condition | `metric`, `op`, `value` | `op` is one of `>=` `>` `<=` `<` `=` |
| | `minimum_exposure` | how many sessions the metric must be based on; default 1 |
| | `minimum_share` | for a count: the least share (0 to 1) of these sessions |
| an alert | `severity` | `warning` or `critical` |
| | `title`, `description`, `recommended_action` | texts |
| | `unusual` | what must be unusual here: a `metric`, and `times` (a count or a share must be over\
 this multiple of the others') or `by` (an average must differ from the others' by this; needs \
`scatter`, the column with the standard deviation of a session, and `means: 2` for a change); \
defaults are """
    f"`level` {LEVEL}, `keeps` {KEEPS}, `most` {MOST}"
    """; `null`: nothing |
| an insight | `insight_type` | `strength` or `growth_area` |
| | `display_text`, `coaching_tip` | texts; only a growth area has a tip |
| | `metric_value` | the number it shows; default: that of the first condition |
| an achievement | `title`, `description`, `icon` | texts |
| the file | `extends` | a shipped profile, or the path of a file, relative to this one |
| | `auto_resolve` | `false`: only people resolve alerts |

In texts, `{metric}` is the value; `{metric:.1f}`, `{metric:+.1f}` and `{metric:.0%}` give its
format, and `{metric:session|sessions}` writes a count with its noun.

A text that repeats a threshold is wrong once somebody changes it, so it names the threshold:
`{threshold.high_reschedule_rate:.0%}` is a var of `dbt_project/dbt_project.yml`, and
`{threshold.no_show_tutor_30d}` the threshold of the rule's own condition on that metric, or that of
the tutor's exception. The formats are the same, and a threshold is never rounded: 0.125 is 12.5 %.

Metrics are the columns of `marts.tutor_aggregates` by name, and those of other inputs as
`input.column`: `tutor_risk` (the churn score: `level`, `score`, `reasons`), `student_risk`
(`students_at_high_risk`, `students`) and `open_alerts`, with a flag per alert of the profile, which
insights and achievements may read.
"""
)
