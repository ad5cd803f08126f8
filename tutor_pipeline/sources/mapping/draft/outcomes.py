"""What became of sessions, who moved them, who came: values, flags and the clock."""

from __future__ import annotations

from tutor_pipeline.core.formatting import count
from tutor_pipeline.sources.mapping.draft.catalog import (
    FEW,
    Catalog,
)
from tutor_pipeline.sources.mapping.draft.likeness import (
    LIKELY,
    SURE,
    WEAK,
    known_words,
    meaning,
    mover,
    words_of,
)
from tutor_pipeline.sources.mapping.draft.matching import Choice, Matcher
from tutor_pipeline.sources.mapping.draft.moments import ZONE, Moments
from tutor_pipeline.sources.mapping.draft.writing import (
    as_text,
    commented,
    expression,
    is_any,
    is_set,
    literal,
    scalar,
    shown,
    sql_name,
)

TO_FILL_IN = "TODO"
"""Stands where only a person knows; `check-source` names the line until it is replaced."""


class Outcomes:
    """Lines about columns of few values."""

    def __init__(self, catalog: Catalog, match: Matcher, moments: Moments) -> None:
        self.catalog = catalog
        self.match = match
        self.moments = moments

    def status(self, relation: str, choice: Choice | None) -> list[str] | None:
        """Returns the lines of a status that flags or the clock say too, None: a column says it."""
        flags = {
            outcome: found
            for outcome, known in known_words().outcomes.items()
            for found in self.match.flags(relation, known)
            if choice is None or found.name != choice.column.name
        }
        counts = None if choice is None else self.catalog.counts(relation, choice.column)
        if counts is None and choice is not None:
            return None
        meant = {value: self._meant(value)[0] for value in counts or ()}
        done = [value for value, outcome in meant.items() if outcome == "completed"]
        perhaps = [words_of(word) for word in known_words().perhaps_completed]
        by_clock = bool(done) and all(words_of(value) in perhaps for value in done)
        if not (flags or by_clock):
            return None
        cases = []
        if "rescheduled" in flags:  # often a cancelled row that another one replaces
            cases.append((is_set(flags["rescheduled"]), "rescheduled"))
        named = "" if choice is None else as_text(choice.column)
        late = ("scheduled", "in_progress", "completed")
        for outcome in dict.fromkeys(meant.values()):
            if outcome is not None and outcome not in late:
                cases.append((is_any(named, meant, outcome), outcome))
        cases += [
            (is_set(found), outcome)
            for outcome, found in flags.items()
            if outcome not in ("rescheduled", "completed")
        ]
        for outcome in ("scheduled", "in_progress"):
            if outcome in meant.values():
                cases.append((is_any(named, meant, outcome), outcome))
        if "completed" in flags:
            cases.append((is_set(flags["completed"]), "completed"))
        start = self.moments.start(relation)
        if start is not None and (by_clock or "scheduled" not in meant.values()):
            now = (
                "now()"
                if start[1] == "timestamp with time zone"
                else f"now() at time zone '{ZONE}'"
            )
            cases.append((f"{start[0]} > {now}", "scheduled"))
        if done:
            cases.append((is_any(named, meant, "completed"), "completed"))
        cases += [
            (f"{named} = {literal(value)}", TO_FILL_IN)
            for value, outcome in meant.items()
            if outcome is None
        ]
        lines = [commented("      status:", WEAK, "several columns say it: check each line")]
        lines += ["        expression: |", "          case"]
        lines += [f"            when {when} then '{outcome}'" for when, outcome in cases]
        # What is not known keeps its name: its rows go to quarantine under it.
        lines.append(f"            else {named or repr('completed')}")
        lines.append("          end")
        return lines

    def _meant(self, value: str) -> tuple[str | None, float]:
        accepted = self.match.contract.table("sessions").column("status").accepted
        return meaning(value, known_words().statuses, accepted)

    def mover(self, relation: str, choice: Choice | None) -> list[str] | None:
        """Who moved a session stands in a column of its own, or in the name of the status."""
        status = self.match.choose("sessions", "status", relation)
        if choice is not None and choice.column != (status and status.column):
            if self.catalog.counts(relation, choice.column) is None:
                many = f"      # rescheduled_by: {choice.column.name} has more than {FEW} values;"
                return [f"{many} an expression can say tutor, student or null"]
            return None
        counts = None if status is None else self.catalog.counts(relation, status.column)
        moved = [value for value in counts or () if self._meant(value)[0] == "rescheduled"]
        sides = {value: side for value in moved if (side := mover(value)) is not None}
        if status is None or not sides:
            return None
        rest = {"tutor": "student", "student": "tutor"}
        only = rest[next(iter(sides.values()))] if len(set(sides.values())) == 1 else None
        lines = ["      rescheduled_by:"]
        lines.append(
            commented(f"        column: {scalar(status.column.name)}", status.sureness, status.why)
        )
        lines.append("        others: null")
        lines.append("        values:")
        for value in moved:
            side = sides.get(value, only)
            if side is not None:
                sureness = SURE if value in sides else WEAK
                lines.append(commented(f"          {scalar(value)}: {side}", sureness, ""))
        return lines

    def attended(self, relation: str, choice: Choice | None) -> list[str] | None:
        """Who came stands in a flag of its own, in its opposite, or in a status per student."""
        if choice is not None and choice.column.type == "boolean":
            return None
        if choice is not None:
            return [
                commented(
                    f"      attended: {expression(f'{sql_name(choice.column.name)} = 1')}",
                    choice.sureness,
                    choice.why,
                )
            ]
        for found in self.match.flags(relation, known_words().absent):
            name = sql_name(found.name)
            text = f"{name} is not true" if found.type == "boolean" else f"coalesce({name}, 0) = 0"
            return [commented(f"      attended: {expression(text)}", SURE, "who was not absent")]
        status = self.match.choose("sessions", "status", relation)
        counts = None if status is None else self.catalog.counts(relation, status.column)
        meant = {value: self._meant(value)[0] for value in counts or ()}
        if status is None or "completed" not in meant.values():
            return None
        came = is_any(as_text(status.column), meant, "completed")
        return [
            commented(f"      attended: {expression(came)}", LIKELY, f"of {shown(counts or {})}")
        ]

    def values(self, table: str, column: str, relation: str, choice: Choice) -> list[str]:
        """Returns the lines of an enum: what each value is in the contract."""
        accepted = self.match.contract.table(table).column(column).accepted
        counts = self.catalog.counts(relation, choice.column)
        if counts is None:
            return [f"      # {column}: {choice.column.name}?  it has more than {FEW} values"]
        if all(value in accepted for value in counts):
            text = f"      {column}: {scalar(choice.column.name)}"
            return [commented(text, choice.sureness, choice.why)]
        legend = self.catalog.legend(choice.column)
        meanings = {value: self._what(table, column, legend.get(value, value)) for value in counts}
        is_required = self.match.contract.table(table).column(column).required
        one_of = f"one of {', '.join(accepted)}"
        if not is_required and not any(meant for meant, _ in meanings.values()):
            text = f"      # {column}: {{column: {choice.column.name}, values: {{…: …}}}}"
            return [f"{text}  {one_of} for each of {shown(counts)}"]
        lines = [
            f"      {column}:",
            commented(f"        column: {scalar(choice.column.name)}", choice.sureness, choice.why),
        ]
        # What somebody is besides tutor and student is nothing here.
        has_others = not is_required or (
            column == "role" and any(meant for meant, _ in meanings.values())
        )
        if has_others:
            lines.append("        others: null")
        lines.append("        values:")
        for value, rows in counts.items():
            meant, sureness = meanings[value]
            called = f"{legend[value]}, " if value in legend else ""
            seen = f"{called}{count(rows, 'row')} in the sample"
            if meant is not None:
                lines.append(commented(f"          {scalar(value)}: {meant}", sureness, seen))
            elif not has_others:
                text = f"          {scalar(value)}: {TO_FILL_IN}"
                lines.append(commented(text, 0, f"{seen}; {one_of}"))
        return lines

    def _what(self, table: str, column: str, value: str) -> tuple[str | None, float]:
        """Returns what a value is in the contract: of a status, a role or another enum."""
        if (table, column) == ("sessions", "status"):
            return self._meant(value)
        accepted = self.match.contract.table(table).column(column).accepted
        known: dict[str, tuple[str, ...]] = {word: (word,) for word in accepted}
        for side in ("tutor", "student"):
            if side in known:
                known[side] = (side, *known_words().tables[f"{side}s"])
        return meaning(value, known, accepted)
