"""What a run says of the messages that it made and sent."""

from collections import Counter
from types import SimpleNamespace

from tutor_pipeline.people.notify.compose import Composed
from tutor_pipeline.steps.tell import _Lines


def test_many_messages_are_a_line_now_and_then(monkeypatch):
    monkeypatch.setattr("tutor_pipeline.steps.tell._TELL_SECONDS", float("inf"))
    said, tally = [], SimpleNamespace(sent=Counter())
    lines = _Lines(said.append, tally)
    for _ in range(50):
        lines.add(Composed(messages=2, dropped=1))
        tally.sent["file"] += 2
        lines.tell()
    lines.tell(at_once=True)
    lines.tell(at_once=True)
    assert said == [
        "2 messages made, 1 not told (ops.outbox says why); 2 deliveries sent",
        "98 messages made, 49 not told (ops.outbox says why); 98 deliveries sent",
    ]
