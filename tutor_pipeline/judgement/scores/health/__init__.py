"""How well a tutor or a student is doing: health_v1 and student_health_v1 (docs/health.md).

parts       the weighted parts of health.yml, and the mean of those that are known
outputs     what a mean becomes: an output with its reasons, or why there is none
usual       what is usual on the platform, as far as health needs it
tutors      the five outputs of a tutor
students    the health of a student

Belongs here: ratios and weighted means of metrics; no metric is computed anew.
Does not belong here: what follows from health (`segments`, `recommendations`).
"""

from tutor_pipeline.judgement.scores.health.parts import (
    BURNOUT,
    FIRST_SESSIONS,
    HEALTH,
    MINIMUM,
    STAR,
    STUDENT_HEALTH,
)
from tutor_pipeline.judgement.scores.health.students import (
    STUDENT_READS,
    STUDENT_SCORER,
    STUDENT_VERSION,
    StudentHealth,
    assess_students,
)
from tutor_pipeline.judgement.scores.health.tutors import (
    TUTOR_SCORER,
    TutorHealth,
    assess,
    star_evidence,
)
from tutor_pipeline.judgement.scores.health.usual import (
    NOTHING_USUAL,
    READS,
    VERSION,
    Usual,
    fit,
)

__all__ = [
    "BURNOUT",
    "FIRST_SESSIONS",
    "HEALTH",
    "MINIMUM",
    "NOTHING_USUAL",
    "READS",
    "STAR",
    "STUDENT_HEALTH",
    "STUDENT_READS",
    "STUDENT_SCORER",
    "STUDENT_VERSION",
    "TUTOR_SCORER",
    "VERSION",
    "StudentHealth",
    "TutorHealth",
    "Usual",
    "assess",
    "assess_students",
    "fit",
    "star_evidence",
]
