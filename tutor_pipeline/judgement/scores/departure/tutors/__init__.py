"""departure_v1: the forecast of tutors.

evidence      what of a tutor's columns is a sign: now, against the tutor's own past
signals.yml   which signs there are, what they are worth before anything was learned, their words
"""

from pathlib import Path

from tutor_pipeline.judgement.scores.departure.forecast import Forecast
from tutor_pipeline.judgement.scores.departure.signals import Signals
from tutor_pipeline.judgement.scores.departure.tutors import evidence
from tutor_pipeline.judgement.scores.score import Target

TUTORS = Forecast(
    scorer="departure_v1",
    target=Target.TUTOR_DEPARTURE,
    who="tutor",
    evidence="tutor_evidence",
    signals=Signals.read(Path(__file__).parent / "signals.yml"),
    reads=evidence.READS,
    usual_of=evidence.usual_of,
    usual_from=evidence.Usual.from_json,
    measure=evidence.measure,
    silence=evidence.silence,
    high_share=0.005,
    rate_setting="TUTOR_YEARLY_DEPARTURE_RATE",
)
"""The forecast of who of the tutors leaves."""
