"""Excuses: a session is struck from what speaks against a tutor, and that is undone."""

from __future__ import annotations

from starlette.responses import Response

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.formatting import visible
from tutor_pipeline.desk import queries, words
from tutor_pipeline.desk.site import Limit, NotFoundError, Place, Visit
from tutor_pipeline.judgement.lifecycle import excuses
from tutor_pipeline.judgement.lifecycle.excuses import ExcuseKind
from tutor_pipeline.people.access.roles import Role


def add(visit: Visit) -> Response:
    """POST /excuses: excuses a session."""
    tutor_id, session_id = visit.text("tutor_id"), visit.text("session_id")
    if not visit.is_built or queries.session(visit.database, session_id, tutor_id) is None:
        raise NotFoundError(
            f"There is no session {visible(session_id, 80)} of this tutor. Nothing was excused."
        )
    kind, reason = visit.text("kind"), visit.text("reason")
    if kind not in list(ExcuseKind):
        raise UsageError("Say what of the session does not count: choose one")
    own = " ".join(visit.text("text").split())
    if reason not in words.EXCUSES and not own:
        raise UsageError("Say why: choose a reason, or write one. Nothing was excused")
    chosen = [reason] if reason in words.EXCUSES else []
    number = excuses.excuse(
        visit.database, tutor_id, session_id, ExcuseKind(kind),
        reason=": ".join([*chosen, *filter(None, [own])]), by=visit.account, at=visit.now,
    )  # fmt: skip
    return visit.back("/", excused=f"{number}", done="")


def undo(visit: Visit) -> Response:
    """POST /excuses/undo: the session counts again."""
    number = visit.text("excuse_id")
    if not number.isdecimal() or len(number) > 18:
        raise UsageError("The form names no excuse: open its page anew")
    excuses.undo(visit.database, int(number), by=visit.account, at=visit.now)
    return visit.back("/", excused=number, done="")


PLACES = (
    Place("/excuses", add, Role.COACH, "POST", limit=Limit.ACTS),
    Place("/excuses/undo", undo, Role.COACH, "POST", limit=Limit.ACTS),
)
