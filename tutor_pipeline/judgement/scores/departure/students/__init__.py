"""student_departure_v1: the forecast of students.

evidence      what of a student's columns is a sign: now, against the student's own past
signals.yml   which signs there are, what they are worth before anything was learned, their words
"""

from pathlib import Path

from tutor_pipeline.judgement.scores.departure.forecast import Forecast
from tutor_pipeline.judgement.scores.departure.signals import Signals
from tutor_pipeline.judgement.scores.departure.students import evidence
from tutor_pipeline.judgement.scores.score import Target

STUDENTS = Forecast(
    scorer="student_departure_v1",
    target=Target.STUDENT_DEPARTURE,
    who="student",
    evidence="student_evidence",
    signals=Signals.read(Path(__file__).parent / "signals.yml"),
    reads=evidence.READS,
    usual_of=evidence.usual_of,
    usual_from=evidence.Usual.from_json,
    measure=evidence.measure,
    silence=evidence.silence,
    high_share=0.03,
    rate_setting="TUTOR_YEARLY_STUDENT_DEPARTURE_RATE",
)
"""The forecast of who of the students leaves."""
