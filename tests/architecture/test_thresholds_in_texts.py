"""No text repeats a threshold: it names it, so that it is right whatever somebody sets.

Two proofs. In the sources no number in a text is the value of a threshold, but where a reason is
given. And with every dbt var and every threshold of every rule changed, each to a number that
stands nowhere else, the texts that are told hold no old number, and the new ones where a source
names the threshold. Hand-written documents describe the thresholds that ship.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from io import StringIO
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.architecture import texts
from tests.architecture.texts import PACKAGE, Stale, Text, stale
from tests.unit.people.notify.test_message import SETTING, alert
from tutor_pipeline.cli import attention
from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.findings import Kind
from tutor_pipeline.core.thresholds import REFERENCE, fill, fill_sql
from tutor_pipeline.judgement.quality.suites import QUERY, load_suites
from tutor_pipeline.judgement.rules import describe
from tutor_pipeline.judgement.rules.catalogue import Catalogue, load_catalogue
from tutor_pipeline.judgement.rules.evaluate import evaluate, fit
from tutor_pipeline.judgement.rules.inputs import OPEN_ALERTS, Inputs, Scale, open_alerts
from tutor_pipeline.judgement.rules.profiles import shipped
from tutor_pipeline.judgement.rules.rule import Condition, Rule
from tutor_pipeline.judgement.scores import recommendations
from tutor_pipeline.metrics import thresholds as metric_thresholds
from tutor_pipeline.metrics.catalogue import metric_columns
from tutor_pipeline.metrics.wide_rows import rule_inputs
from tutor_pipeline.people.notify import message as notify_message
from tutor_pipeline.people.notify.kinds import alert as alert_message
from tutor_pipeline.people.notify.kinds import session as session_message
from tutor_pipeline.people.reports import backtest
from tutor_pipeline.people.reports import render as reports_render

AS_OF = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)
DEFAULTS = texts.variables()
SET = {"yearly_departure_rate": 0.25, "yearly_student_departure_rate": 0.5}
"""Defaults of the settings that are thresholds."""

# (where, the number in its words, why it is no threshold): regular expressions.
REASONS = [
    # What a metric is, fixed in its SQL.
    ("declining_performance", r"days (15 to 28|31 to 60)", "the earlier window of the metric"),
    ("high_churn_risk", "within 30 days", "the horizon of the forecast"),
    ("high_reschedule_share", r"in 30 and .* in 90", "windows of the metrics named there"),
    ("(high_talk_ratio|low_understanding_checks)", "last 30 days", "the window of the metric"),
    (r"health\.yml:Rating of 7 days", "against 30", "the window of the metric"),
    ("models.yml:(student_retention_rate|metric_date)", r"(last|recent) 30\b", "a window"),
    ("models.yml:active_days_30d", "Days of 30", "the window in its name"),
    ("models.yml:(poor_)?first_session_(flag|ids)", "90 days", "of first_session_avg_…_90d"),
    ("_students__models.yml:tutor_ids", "90 days", "fixed, as for sessions_90d"),
    ("_students__models.yml:engagement_fall_30d", "under 3 sessions", "fixed in its macro"),
    ("_students__models.yml:student_aggregates_history", "52 full weeks", "fixed in its macro"),
    ("_marts__models.yml:tutor_scoreboard", "5 sessions", "fixed in its model"),
    (r"health/tutors\.py", "in 90 days", "sessions_90d, first_session_count_90d"),
    (r"weighted\.py", "90 days", "windows of the metrics, named _90d"),
    (r"notify/templates/digest", "30 before", "the window of platform_metrics"),
    (r"desk/templates/(macros|tutor)", "90 days", "SPARK_DAYS, of the line"),
    (r"desk/templates/students", "in 90 days", "LOST_DAYS"),
    (r"desk/templates/patterns", "in 90 days", "DAYS, of the counts"),
    (r"desk/templates/today", "30 (days|before)", "the windows of platform_metrics"),
    # The ends of a scale.
    (r"desk/(templates|pages)/(tutors|sessions)", "1( to |–)5", "the scale of ratings"),
    ("(high_rating_score_divergence|student_favorite)", r"\bof (5|10)\b", "the scale"),
    ("rating_lies_in_1_to_5", "1 and 5", "the scale of ratings"),
    (r"notify/(digest_data|session_content)\.py", r"(1 to|of) 5\)", "the scale of ratings"),
    # Advice, and what it takes.
    ("(low_engagement|frequent_technical_issues)", "ten minutes", "advice"),
    ("recommendations.yml", "within 48 hours", "advice"),
    # Goals and figures of evaluations.
    (r"cli/alerts\.py", "(15 %|5 to|10 %)", "goals of an organisation, not of the pipeline"),
    (r"(backtest|scores_crossval)\.py", "15 %", "a figure of evaluations, so named"),
    (r"backtest\.py", r"(of|in|first|day's) [35]\b", "a figure of evaluations, so named"),
    (r"refinement\.py", "95 %", "one-sided, of its constant"),
    (r"backtest\.html\.j2", "else 30", "code: a page without targets"),
    # Bounds beside them in SQL.
    ("duration_is_usual", "between 5 and 300", "in the check's SQL"),
    ("experience_goes_with_empathy", "30 tutors", "in the check's SQL"),
    # What a standard says.
    (r"events/receiver/(app|pages)\.py", "5 minutes", "the tolerance of Standard Webhooks"),
    (r"events/receiver/pages\.py", "5 MB", "the bound of a request"),
    # Examples and codes.
    (r"desk/templates/", "(Calling at 3 pm|rows=\"3\")", "an example, and the height of a field"),
    (r"cli/(forget|launch)\.py", "exit (status )?3", "an exit status"),
    (r"cli/simulate\.py", "10000/day", "an example of what to write"),
    (r"desk/pages/(rules|exceptions)\.py", r"8 or 0\.25", "an example of what to write"),
    (r"rules/describe\.py", "[35] of (16|8)", "an example of what an alert says"),
    (r"rules/describe\.py", "about 30 sessions a month", "advice"),
]  # fmt: skip


def unexplained(found: list[Stale]) -> list[Stale]:
    """Those for which no reason is given."""
    return [each for each in found if not any(_explains(reason, each) for reason in REASONS)]


def _explains(reason: tuple[str, str, str], found: Stale) -> bool:
    place, words, _ = reason
    if not re.search(place, found.place):
        return False
    return any(found.number.split()[0] in match[0] for match in re.finditer(words, found.around))


@pytest.fixture(scope="module")
def sources() -> list[Text]:
    return texts.every_text()


def test_no_text_repeats_a_threshold(sources):
    found = unexplained(stale(sources, DEFAULTS | SET))
    assert found == [], "name the threshold: {threshold.name} (docs/rules.md, Your own profile)"


def test_no_reason_is_given_in_vain(sources):
    found = stale(sources, DEFAULTS | SET)
    assert [r for r in REASONS if not any(_explains(r, each) for each in found)] == []


RULE = """\
alerts:
  planted:
    when:
      - {{metric: no_show_tutor_30d, op: ">=", value: 3, minimum_exposure: 8}}
    unusual: {{metric: no_show_tutor_30d, times: 1.5}}
    description: "{}"
"""


@pytest.mark.parametrize(
    ("sentence", "threshold"),
    [
        ("rescheduled over 15 % of them", "high_reschedule_rate"),
        ("rescheduled over 0.15 of them", "high_reschedule_rate"),
        ("over {late_count_30d}, each more than 5 minutes late", "late_after_minutes"),
        ("the last 90 days", "lookback_days"),
        ("3 or more", "no_show_tutor_30d.value"),
        ("three or more", None),
        ("of at least 8 sessions", "no_show_tutor_30d.minimum_exposure"),
        ("over 1.5 times the others'", "no_show_tutor_30d.times"),
        ("over 17 of them", None),  # in a rule no number is beyond suspicion
    ],
)
def test_a_number_planted_in_a_rule_is_found(tmp_path, sentence, threshold):
    (tmp_path / "own.yml").write_text(RULE.format(sentence), "utf-8")
    (found,) = unexplained(stale(texts.of_rules(tmp_path), DEFAULTS))
    assert found.place == "own.yml:planted.description"
    assert threshold is None or threshold in found.thresholds


def test_a_rule_that_names_its_thresholds_is_not(tmp_path):
    sentence = (
        "{no_show_tutor_30d:no-show|no-shows} in 30 days ({threshold.no_show_tutor_30d} or more),"
        " over {threshold.high_reschedule_rate:.0%}"
    )
    (tmp_path / "own.yml").write_text(RULE.format(sentence), "utf-8")
    assert stale(texts.of_rules(tmp_path), DEFAULTS) == []


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("page.html.j2", '<p style="width:15 %">{{ who }} reschedules over 15 %</p>',
         texts.of_templates),
        ("verb.py", 'def f(rate):\n    """Over 15 %."""\n    return f"{rate} is over 15 %"',
         texts.of_python),
        ("models.yml", "models: [{name: a, columns: [{name: b, description: Over 15 % is high.}]}]",
         lambda folder: texts.of_yaml(folder, "description")),
        ("models.yml", "models: [{name: a, columns: [{name: b_30d, description: Of 90 days.}]}]",
         lambda folder: texts.of_yaml(folder, "description")),
        ("model.sql", "select case when rate > {{ var('high') }} then 'over 15 % moved' end",
         texts.of_models),
        ("suite.yml", "about: A table.\nchecks:\n  - {name: few, says: At most 2 % wait.,"
         " kwargs: {max_value: 2}}", texts.of_checks),
    ],
)  # fmt: skip
def test_a_number_planted_elsewhere_is_found(tmp_path, name, content, read):
    (tmp_path / name).write_text(content, "utf-8")
    assert len(stale(read(tmp_path), DEFAULTS)) == 1


def test_a_number_planted_in_a_recommendation_is_found(tmp_path):
    path = tmp_path / "recommendations.yml"
    path.write_text('tutors: {a: {metric: b, op: ">", threshold: 14, text: "Over 14 days"}}')
    (found,) = unexplained(stale(texts.of_recommendations(path), DEFAULTS))
    assert found.thresholds == ("b.threshold",)


def test_references_in_python_are_known():
    """Those of rules, checks, templates and recommendations are checked when they are loaded."""
    for path in PACKAGE.rglob("*.py"):
        for words in texts.python_strings(path.read_text("utf-8")):
            # The page of the rules shows how to write one of a rule's own.
            metric_thresholds.told(words.replace("{threshold.no_show_tutor_30d}", ""))


def test_no_var_has_the_name_of_a_metric():
    """In a rule, `{threshold.name}` is either."""
    assert set(DEFAULTS) & {name for model in metric_columns().values() for name in model} == set()


# What is told ----------------------------------------------------------------------------------


@pytest.fixture
def with_vars(tmp_path, monkeypatch) -> Iterator[Any]:
    """Set vars as a user does, in the project's file."""

    def put(changed: Mapping[str, float]) -> Mapping[str, float]:
        text = metric_thresholds.PROJECT_FILE.read_text("utf-8")
        for name, value in changed.items():
            text, found = re.subn(rf"^(  {name}:) .*$", rf"\1 {value}", text, flags=re.MULTILINE)
            assert found == 1, name
        file = tmp_path / "dbt_project.yml"
        file.write_text(text, "utf-8")
        monkeypatch.setattr(metric_thresholds, "PROJECT_FILE", file)
        forget()
        return metric_thresholds.thresholds()

    yield put
    monkeypatch.undo()
    forget()


def forget() -> None:
    for cached in (metric_thresholds.thresholds, notify_message._template, reports_render._template,
                   backtest._template):  # fmt: skip
        cached.cache_clear()


def told(thresholds: Mapping[str, float], folder: Path | None = None) -> dict[str, str]:
    """Everything that is told, by where: what fires of all profiles, and what repeats a threshold
    beside it. `folder`: that of the profiles, if it is not ours.
    """
    found: dict[str, str] = {}
    catalogues = []
    for name in shipped():
        profile = name if folder is None else folder / f"{name}.yml"
        catalogue = load_catalogue(profile, rule_inputs(), thresholds)
        catalogues.append(catalogue)
        for rule in catalogue.rules:
            if rule.beside is None:
                for key, text in said(rule).items():
                    found[f"{name}.yml:{rule.id}.{key}"] = text
                found[f"{name}.yml:{rule.id} shown"] = str(
                    [*describe.details(rule, rule_inputs()), describe.summary(rule)]
                )
    found["docs/rules.md"] = describe.page(catalogues, thresholds)
    for suite in load_suites():
        for check in suite.checks:
            found[f"{suite.name}.yml:{check.name}"] = check.says
            found[f"{suite.name}.yml:{check.name} sql"] = check.kwargs.get(QUERY, "")
    for trigger in (*recommendations.FOR_TUTORS, *recommendations.FOR_STUDENTS):
        found[f"recommendations.yml:{trigger.code}"] = trigger.says
    high = alert(is_high_reschedule=True, description="No-shows.")
    for name, message in (
        ("alert", alert_message.message(Audience.CRITICAL, [high], SETTING)),
        ("session", session_message.message([report()], SETTING)),
    ):
        found |= {f"{name}.txt.j2": message.text, f"{name}.html.j2": message.html}
    screen = Console(width=120, file=StringIO())
    for line in attention._entry({**high, "alerts": [], "attention_rank": 1}, "T1", {}):
        screen.print(line)
    found["attention"] = screen.file.getvalue()  # type: ignore[attr-defined]
    found["backtest"] = backtest.render(
        {"first_as_of": date(2026, 3, 1), "last_as_of": date(2026, 5, 1), "dates": 8, "rows": 9,
         "tutors": 9, "notes": [], "targets": [], "left_out": {"silent_too_long": 12}},
        date(2026, 8, 1),
    )  # fmt: skip
    return found


def report() -> dict[str, Any]:
    averages = ("avg_session_score_30d", "avg_rating_30d", "avg_engagement_30d",
                "avg_empathy_30d", "avg_clarity_30d", "avg_talk_ratio")  # fmt: skip
    session = {
        "scheduled_start": AS_OF, "subject": None, "actual_duration_minutes": None,
        "is_first_session": False, "session_id": "S1", "is_late": False, "technical_issues": False,
        "student_frustration_count": 0, "session_score": None, "student_satisfaction_rating": None,
        "student_engagement_score": None, "empathy_score": None, "clarity_score": None,
        "tutor_talk_ratio": None,
    }  # fmt: skip
    rates = {f"reschedule_rate_{days}d": 0.4 for days in (7, 30, 90)}
    numbers = {f"sessions_{days}d": 8 for days in (7, 30, 90)}
    return {"tutor_id": "T1", "name": "Sarah Chen", "is_high_reschedule": True, "alerts": [],
            "insights": [], "sessions": [session], **dict.fromkeys(averages), **rates,
            **numbers}  # fmt: skip


def _beyond(condition: Condition) -> Any:
    far = {">": 90_000_000, "<": -90_000_000}.get(condition.op[0])
    return condition.value if far is None else condition.value + far  # type: ignore[operator]


def said(rule: Rule) -> dict[str, str]:
    """The texts of a finding: of a row that meets the rule's conditions, and whose other values
    are numbers that are no threshold.
    """
    inputs = Inputs({**rule_inputs(), OPEN_ALERTS: open_alerts([rule.alert, *ALERTS])})
    numbers = count(9_000_001, 2)
    some: Mapping[Scale, Any] = {Scale.TEXT: "words", Scale.SESSIONS: ["S1"], Scale.FLAG: False}
    row: dict[str, Any] = {"tutor_id": "T1"}
    for name in sorted(rule.columns):
        scale = inputs.scale(name)
        number = next(numbers)
        row[name] = some.get(scale, number if scale is Scale.COUNT else number + 0.25)
    for condition in rule.when:
        row[condition.metric] = _beyond(condition)
    for one, two in pairwise(rule.when):
        if one.metric == two.metric:  # between the two
            row[one.metric] = (one.value + two.value) / 2  # type: ignore[operator]
    catalogue = Catalogue("own", True, (replace(rule, is_enabled=True),))
    usual_here = fit(catalogue, [row])
    (finding,) = evaluate(catalogue, rule.kind, [row], AS_OF, (), usual_here).findings
    return dict(finding.texts)


ALERTS = [
    rule.id
    for rule in load_catalogue("conservative", rule_inputs(), DEFAULTS).of(Kind.ALERT)
]  # fmt: skip


def other_numbers(defaults: Mapping[str, float]) -> dict[str, float]:
    """A number for each threshold that stands in no text and for no other threshold."""
    return {
        name: round(0.70011 + 0.0013 * number, 5) if 0 < value < 1 else 7001 + 10 * number
        for number, (name, value) in enumerate(defaults.items())
    }


def old_numbers(found: Mapping[str, str]) -> list[Stale]:
    """The numbers in what is told that are those of vars before, and unexplained."""
    beside = {
        (f"{suite.name}.yml:{check.name}", str(value))
        for suite in load_suites()
        for check in suite.checks
        for _, value in texts.numbers_of(check.kwargs)
    }
    told_texts = [
        Text(place, words, windows=WINDOWS)
        for place, words in found.items()
        # The rest has other numbers: pages with style, the thresholds of rules, SQL.
        if not place.endswith((".html.j2", "backtest", " shown", " sql", "rules.md"))
    ]
    wrong = unexplained(stale(told_texts, DEFAULTS))
    # A check names the numbers beside it: one that a var happened to have is right.
    return [each for each in wrong if (each.place, each.number) not in beside]


WINDOWS = frozenset(
    float(days) for model in metric_columns().values() for name in model
    for days in re.findall(r"_(\d+)d(?![a-z])", name)
)  # fmt: skip


def test_every_var_changed_shows_in_every_text_that_names_it(with_vars):
    before = told(with_vars({}))
    changed = other_numbers(DEFAULTS)
    after = told(with_vars(changed))
    assert before.keys() == after.keys()
    assert old_numbers(after) == []
    shown = 0
    for place, references in named().items():
        of_place = [key for key in after if is_from(key, place)]
        assert of_place, f"{place} names thresholds, and is not told here"
        for reference in references:
            write = fill_sql if place.endswith(" sql") else fill
            old, new = write(reference, DEFAULTS), write(reference, changed)
            for key in of_place:
                assert new in after[key], (key, reference)
                assert old in before[key], (key, reference)
                assert before[key].count(old) > after[key].count(old), (key, reference)
                shown += 1
    assert shown >= 30


def named() -> dict[str, set[str]]:
    """The references to vars in the sources, by where."""
    found: dict[str, set[str]] = {}
    for path in (*texts.RULES.glob("*.yml"), *texts.SUITES.glob("*.yml")):
        content = yaml.safe_load(path.read_text("utf-8"))
        for key, words in _entries(content):
            found.setdefault(f"{path.name}:{key}", set()).update(_vars_in(words))
    for path in PACKAGE.rglob("*.j2"):
        found[path.name] = _vars_in(path.read_text("utf-8"))
    modules = {
        "cli/attention.py": "attention",
        "people/reports/backtest.py": "backtest",
        "judgement/rules/describe.py": "docs/rules.md",
    }
    for path in PACKAGE.rglob("*.py"):
        references = {
            reference for words in texts.python_strings(path.read_text("utf-8"))
            for reference in _vars_in(words)
        }  # fmt: skip
        if references:
            # A module that is not there is not told above.
            found[modules[str(path.relative_to(PACKAGE))]] = references
    return {place: references for place, references in found.items() if references}


def _entries(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for section in ("alerts", "insights", "achievements"):
        for rule_id, rule in (content.get(section) or {}).items():
            yield from ((f"{rule_id}.{key}", str(words)) for key, words in rule.items())
    for check in content.get("checks", ()):
        yield check["name"], check["says"]
        yield f"{check['name']} sql", str(check["kwargs"])


def _vars_in(words: str) -> set[str]:
    # The page of the rules shows how to write one, in a code span.
    return {
        match[0] for match in REFERENCE.finditer(words)
        if match[1] in DEFAULTS and words[match.start() - 1] != "`"
    }  # fmt: skip


def is_from(key: str, place: str) -> bool:
    """Whether a text comes from a place; `adaptive` has the sentences of `conservative`."""
    return key == place or key == place.replace("conservative.yml", "adaptive.yml")


def test_a_high_reschedule_rate_of_20_percent_says_so_everywhere(with_vars):
    before = told(with_vars({}))
    after = told(with_vars({"high_reschedule_rate": 0.20}))
    mended = {place for place in after if after[place] != before[place]}
    insights = {f"{name}.yml:high_reschedule_share.display_text" for name in shipped()}
    shown = {f"{name}.yml:high_reschedule_share shown" for name in shipped()}
    assert mended == {*insights, *shown, "alert.txt.j2", "alert.html.j2", "session.txt.j2",
                      "session.html.j2", "attention"}  # fmt: skip
    for place in mended:
        assert "15 %" not in after[place]
        assert after[place].count("20 %") == before[place].count("15 %") > 0
    assert after["session.txt.j2"].count("20 %") == 2  # the badge, and the line of reschedules


def changed_rules(folder: Path) -> dict[str, dict[str, float]]:
    """Write our profiles with every threshold changed; the numbers before, by file and rule."""
    numbers = count(1)
    before: dict[str, dict[str, float]] = {}

    def another(key: str, value: float) -> float:
        n = next(numbers)
        if key in ("minimum_share", "level", "keeps", "most"):
            return round(0.3 + n / 10_000, 5)
        if key in ("times", "by"):
            return round((-1 if value < 0 else 1) * (7 + n / 1000), 5)
        if isinstance(value, int):
            return 7000 + n
        return round((-1 if value < 0 else 1) * (0.7 + n / 10_000 + (7000 if value > 1 else 0)), 5)

    def change(entry: Any, key: str = "") -> Any:
        if isinstance(entry, dict):
            return {name: change(value, name) for name, value in entry.items()}
        if isinstance(entry, list):
            return [change(value, key) for value in entry]
        is_threshold = type(entry) in (int, float) and key != "means"
        return another(key, entry) if is_threshold else entry

    for path in texts.RULES.glob("*.yml"):
        profile = yaml.safe_load(path.read_text("utf-8"))
        for section in ("alerts", "insights", "achievements"):
            for rule_id, rule in (profile.get(section) or {}).items():
                before[f"{path.stem}:{rule_id}"] = dict(texts.numbers_of(rule))
                profile[section][rule_id] = change(rule)
        if "extends" in profile:
            profile["extends"] = f"{profile['extends']}.yml"
        (folder / path.name).write_text(yaml.safe_dump(profile, sort_keys=False), "utf-8")
    return before


def test_every_threshold_of_every_rule_changed_leaves_no_old_number(tmp_path, with_vars):
    before = changed_rules(tmp_path)
    # Some of all: conditions, exposures, required counts, shares, what is unusual.
    assert sum(map(len, before.values())) > 90
    # The vars too, so that a number of theirs is not taken for one of the rule.
    found = told(with_vars(other_numbers(DEFAULTS)), tmp_path)
    of_rules = {place: words for place, words in found.items() if re.search(r"\.yml:\w+\.", place)}
    assert len(of_rules) > 150
    assert stale_of_rules(of_rules, before) == []
    page = found["docs/rules.md"]
    assert "1.5 times" not in page
    assert "7.00" in page


def stale_of_rules(
    found: Mapping[str, str], before: Mapping[str, Mapping[str, float]]
) -> list[Stale]:
    """The numbers in findings that are those of the rule's own thresholds before."""
    wrong = []
    for place, words in found.items():
        profile, rule_id = re.fullmatch(r"(\w+)\.yml:(\w+)\.\w+", place).groups()  # type: ignore[union-attr]
        own = {
            **before.get(f"conservative:{rule_id}", {}),
            **before.get(f"{profile}:{rule_id}", {}),
        }
        wrong += stale([Text(place, words, own, WINDOWS)], {})
    return unexplained(wrong)


@pytest.mark.parametrize(
    ("description", "is_found"),
    [
        ("{no_show_tutor_30d:no-show|no-shows}, 3 or more are many", True),
        ("{no_show_tutor_30d:no-show|no-shows}, {threshold.no_show_tutor_30d} or more", False),
    ],
)
def test_a_rule_that_repeats_its_threshold_is_told_apart(tmp_path, description, is_found):
    before = changed_rules(tmp_path)
    path = tmp_path / "conservative.yml"
    profile = yaml.safe_load(path.read_text("utf-8"))
    profile["alerts"]["no_show_pattern"]["description"] = description
    path.write_text(yaml.safe_dump(profile), "utf-8")
    rules = load_catalogue(path, rule_inputs(), DEFAULTS).of(Kind.ALERT)
    (rule,) = [rule for rule in rules if rule.id == "no_show_pattern"]
    text = said(rule)["description"]
    found = stale_of_rules({"conservative.yml:no_show_pattern.description": text}, before)
    assert bool(found) is is_found
    assert (f"{rule.when[0].value:,} or more" in text) is not is_found
