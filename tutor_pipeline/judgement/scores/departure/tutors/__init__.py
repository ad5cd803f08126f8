"""departure_v1: the forecast of tutors.

evidence      makes signs from a tutor's columns: now, against the tutor's own past
signs.yml     the signs, their weights before anything is learned, their words
"""

from pathlib import Path

from tutor_pipeline.judgement.scores.departure.forecast import Forecast
from tutor_pipeline.judgement.scores.departure.signs import Signs
from tutor_pipeline.judgement.scores.departure.tutors import evidence
from tutor_pipeline.judgement.scores.score import Target

TUTORS = Forecast(
    scorer="departure_v1",
    target=Target.TUTOR_DEPARTURE,
    who="tutor",
    evidence="tutor_evidence",
    signs=Signs.read(Path(__file__).parent / "signs.yml"),
    reads=evidence.READS,
    usual_of=evidence.usual_of,
    usual_from=evidence.Usual.from_json,
    measure=evidence.measure,
    silence=evidence.silence,
    high_share=0.005,
    rate_setting="TUTOR_YEARLY_DEPARTURE_RATE",
)
"""The forecast of which tutors leave."""
