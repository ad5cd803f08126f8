"""All that the desk reads of alerts, metrics, scores and sessions. Reads only.

What the command line reads too stands in `people.reports`. On a cluster a query of its own fetches
what belongs to rows that another one made, by their ids.
"""

from tutor_pipeline.desk.queries.alert_rows import (
    alert,
    alert_facets,
    alerts,
    alerts_on,
    all_that_match,
    counts,
    earlier_alerts,
    ending_snoozes,
    last_acts,
    newest_events,
    quiet_alerts,
    with_events,
)
from tutor_pipeline.desk.queries.data_rows import (
    events,
    failing_checks,
    newest_refreshes,
    set_aside,
    verdict,
)
from tutor_pipeline.desk.queries.lines import band, history
from tutor_pipeline.desk.queries.pattern_rows import by_hour, by_month, reasons
from tutor_pipeline.desk.queries.people import (
    certifications,
    colleagues,
    newest_notes,
    notes,
    profiles,
    risks,
    students,
    subjects,
    tutor_names,
)
from tutor_pipeline.desk.queries.session_rows import (
    excused_sessions,
    newest_day,
    session,
    sessions,
    sessions_by_id,
)
from tutor_pipeline.desk.queries.state import facts, is_built, platform_bar
from tutor_pipeline.desk.queries.student_rows import (
    segments,
    students_listed,
    tutors_losing_students,
)
from tutor_pipeline.desk.queries.tutor_rows import tutor, tutors

__all__ = [
    "alert",
    "alert_facets",
    "alerts",
    "alerts_on",
    "all_that_match",
    "band",
    "by_hour",
    "by_month",
    "certifications",
    "colleagues",
    "counts",
    "earlier_alerts",
    "ending_snoozes",
    "events",
    "excused_sessions",
    "facts",
    "failing_checks",
    "history",
    "is_built",
    "last_acts",
    "newest_day",
    "newest_events",
    "newest_notes",
    "newest_refreshes",
    "notes",
    "platform_bar",
    "profiles",
    "quiet_alerts",
    "reasons",
    "risks",
    "segments",
    "session",
    "sessions",
    "sessions_by_id",
    "set_aside",
    "students",
    "students_listed",
    "subjects",
    "tutor",
    "tutor_names",
    "tutors",
    "tutors_losing_students",
    "verdict",
    "with_events",
]
