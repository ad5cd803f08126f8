"""The statuses of sessions and their codes."""

STATUSES = ("completed", "no_show_tutor", "no_show_student", "cancelled", "rescheduled",
            "scheduled")  # fmt: skip
COMPLETED, NO_SHOW_TUTOR, NO_SHOW_STUDENT, CANCELLED, RESCHEDULED, SCHEDULED = range(6)
