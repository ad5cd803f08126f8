"""When sessions begin and how long they are, in one column or in several."""

from __future__ import annotations

from tutor_pipeline.sources.mapping.draft.catalog import (
    FRACTIONS,
    NAIVE,
    TIME,
    Catalog,
    Found,
)
from tutor_pipeline.sources.mapping.draft.likeness import (
    LIKELY,
    known_words,
)
from tutor_pipeline.sources.mapping.draft.matching import Choice, Matcher
from tutor_pipeline.sources.mapping.draft.writing import (
    commented,
    expression,
    sql_name,
)

ZONE = "UTC"
"""Of moments without a zone, until a person says another."""
_MILLISECONDS = 100_000_000_000
"""Seconds since 1970 are smaller for the next 3,000 years."""
_HOURS, _MINUTES = 12, 1_440
"""The longest sessions: what is never longer is in hours, what is longer in seconds."""


class Moments:
    """Lines about moments. `naive`: the columns without a zone that were used."""

    def __init__(self, catalog: Catalog, match: Matcher) -> None:
        self.catalog = catalog
        self.match = match
        self.naive: list[str] = []

    def since_1970(self, relation: str, found: Found) -> str:
        """Returns the expression of a moment kept as seconds or milliseconds since 1970."""
        _, high = self.catalog.ends(relation, found.name)
        return f"to_timestamp({sql_name(found.name)}{' / 1000.0' if high > _MILLISECONDS else ''})"

    def start_of_two(self, relation: str, choice: Choice | None) -> list[str] | None:
        """A day and a time in two columns are one moment."""
        if choice is not None and choice.column.type != "date":
            return None
        both = self._day_and_time(relation)
        if both is None:
            return None
        day, time = both
        self.naive.append(f"{day.name} + {time.name}")
        both_in_one = f"{sql_name(day.name)} + {sql_name(time.name)}"
        return [commented(f"      scheduled_start: {expression(both_in_one)}", LIKELY, "")]

    def _day_and_time(self, relation: str) -> tuple[Found, Found] | None:
        words = known_words().moments
        day = self.match.named(relation, words.day, {"date"})
        time = self.match.named(relation, words.time, {TIME})
        return None if day is None or time is None else (day.column, time.column)

    def start(self, relation: str) -> tuple[str, str] | None:
        """Returns the expression of the start and its type."""
        choice = self.match.choose("sessions", "scheduled_start", relation)
        both = self._day_and_time(relation)
        if both is not None and (choice is None or choice.column.type == "date"):
            return " + ".join(sql_name(found.name) for found in both), NAIVE
        if choice is None:
            return None
        if choice.column.type == "bigint":
            return self.since_1970(relation, choice.column), "timestamp with time zone"
        return sql_name(choice.column.name), choice.column.type

    def duration(self, relation: str, choice: Choice | None) -> list[str] | None:
        """Returns the lines of the duration, None: a column has it in minutes."""
        if choice is not None:
            _, highest = self.catalog.ends(relation, choice.column.name)
            name = sql_name(choice.column.name)
            if choice.column.type in FRACTIONS and 0 < highest <= _HOURS:
                return self._minutes(f"({name} * 60)::integer", f"{choice.why}; in hours")
            if highest > _MINUTES:
                return self._minutes(f"({name} / 60)::integer", f"{choice.why}; in seconds")
            return None
        lasts = self.match.named(relation, ("duration", "length"), {"interval"})
        if lasts is not None:
            name = sql_name(lasts.column.name)
            return self._minutes(f"(extract(epoch from {name}) / 60)::integer", lasts.why)
        return self._from_start_to_end(relation)

    def _from_start_to_end(self, relation: str) -> list[str] | None:
        words, start = known_words().moments, self.start(relation)
        if start is None:
            return None
        end = self.match.moments(relation, words.end)
        if end is not None and end.column.type == start[1]:
            last = f"{sql_name(end.column.name)} - {start[0]}"
        elif end is not None and (end.column.type, start[1][-4:]) == ("bigint", "zone"):
            last = f"{self.since_1970(relation, end.column)} - {start[0]}"
        else:
            both = self._day_and_time(relation)
            clock = self.match.named(relation, words.end_time, {TIME})
            day = self.match.named(relation, words.end_day, {"date"})
            if both is None or clock is None:
                return None
            last = f"{sql_name(clock.column.name)} - {sql_name(both[1].name)}"
            if day is not None:
                until = f"{sql_name(day.column.name)} + {sql_name(clock.column.name)}"
                last = f"({until}) - ({start[0]})"
        return self._minutes(f"(extract(epoch from {last}) / 60)::integer", "from start to end")

    def _minutes(self, minutes: str, why: str) -> list[str]:
        return [commented(f"      scheduled_duration: {expression(minutes)}", LIKELY, why)]
