"""student_departure_v1: the forecast of students.

evidence      makes signs from a student's columns: now, against the student's own past
signs.yml     the signs, their weights before anything is learned, their words
"""

from pathlib import Path

from tutor_pipeline.judgement.scores.departure.forecast import Forecast
from tutor_pipeline.judgement.scores.departure.signs import Signs
from tutor_pipeline.judgement.scores.departure.students import evidence
from tutor_pipeline.judgement.scores.score import Target

STUDENTS = Forecast(
    scorer="student_departure_v1",
    target=Target.STUDENT_DEPARTURE,
    who="student",
    evidence="student_evidence",
    signs=Signs.read(Path(__file__).parent / "signs.yml"),
    reads=evidence.READS,
    usual_of=evidence.usual_of,
    usual_from=evidence.Usual.from_json,
    measure=evidence.measure,
    silence=evidence.silence,
    high_share=0.03,
    rate_setting="TUTOR_YEARLY_STUDENT_DEPARTURE_RATE",
)
"""The forecast of which students leave."""
