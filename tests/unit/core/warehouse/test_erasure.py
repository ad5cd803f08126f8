"""All about a person goes from every table of `ops`, and nothing of those with similar ids."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import sql
from psycopg.errors import QueryCanceled
from psycopg.types.json import Jsonb

from tests.integration.refreshes import until
from tutor_pipeline.core.warehouse import erasure
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.core.warehouse.erasure import NOTHING_PERSONAL, RULES, Left, erase, left, record
from tutor_pipeline.core.warehouse.migrate import upgrade
from tutor_pipeline.core.warehouse.personal_data import ERASED, Role
from tutor_pipeline.core.warehouse.retention import sizes
from tutor_pipeline.people.notify.compose import compose
from tutor_pipeline.people.notify.message import Setting
from tutor_pipeline.sources.changes import ledger
from tutor_pipeline.sources.events import applying

NOW = datetime(2026, 11, 20, 5, tzinfo=UTC)
TODAY = NOW.date()
IDS = ["T1", 'O\'Neil "x" 50%', "Zoë\\1", "5", "c6f0a9d2-0000-4000-8000-000000000001"]

# What tables need beside what the rows below say.
_SCORE = {
    "as_of": NOW, "as_of_on": TODAY, "scorer": "departure_v1", "version": "1", "target": "churn",
    "horizon_days": 30, "score": 1.0, "is_probability": False, "status": "ok", "input_hash": "0",
}  # fmt: skip
_FINDING = {
    "occurrence": 1, "metrics": Jsonb({}), "rule_profile": "conservative", "rule_version": "1",
    "last_confirmed_at": NOW,
}  # fmt: skip
_RUN = {
    "run_id": "r", "as_of": NOW, "profile": "conservative", "tutors": 1, "evaluated": 1,
    "opened": 0, "confirmed": 0, "escalated": 0, "resolved": 0, "suppressed": 0,
}  # fmt: skip
_CHECK = {
    "run_id": "r", "asset": "marts/fct_sessions", "owner": "suite", "says": "…",
    "severity": "error", "blocking": True, "status": "failed", "as_of": NOW,
}  # fmt: skip
_ENTRY = {"source": "platform.sessions", "reasons": ["x"], "first_seen": NOW, "last_seen": NOW}
_TOLD = {"audience": "critical", "occurred_at": NOW, "due_at": NOW}
_MESSAGE = {"audience": "critical", "kind": "alert", "items": 1, "made_at": NOW}
_EVENT = {
    "source": "shop", "received_at": NOW, "state_at": NOW, "type": "session.completed",
    "body": "{}", "digest": b"d",
}  # fmt: skip


def _row(table, *key, versions=(), **values):
    """What is known of a row of the platform by events."""
    return {
        "row_name": "/".join([table, *(part.replace("/", "%2F") for part in key)]),
        "table_name": table, "row_key": list(key), "versions": Jsonb(list(versions)),
        "changed_at": NOW, **values,
    }  # fmt: skip


def of_tutor(id_):
    """A row or more of each table in which a tutor has rows of their own."""
    session = f"S of {id_}"
    return {
        "alerts": [{
            **_FINDING, "tutor_id": id_, "subject_id": id_, "alert_id": f"a{id_}",
            "alert_type": "no_show_pattern", "severity": "warning", "title": "t",
            "description": "d", "recommended_action": "r",
            "session_id": session, "evidence_session_ids": [session], "excess": 0.0,
            "triggered_date": NOW, "known_session_ids": [session],
        }],
        "alert_events": [{
            "tutor_id": id_, "alert_id": f"a{id_}", "event_no": 1, "event": "opened", "at": NOW,
            "actor": "pipeline", "details": Jsonb({"session_id": session}),
        }],
        "tutor_insights": [{
            **_FINDING, "tutor_id": id_, "insight_id": "i", "category": "punctual",
            "insight_type": "strength", "display_text": "d", "sample_sessions": [session],
            "detected_at": NOW,
        }],
        "achievements": [{
            **_FINDING, "tutor_id": id_, "achievement_id": "b", "achievement_type": "guru",
            "title": "t", "description": "d", "icon": "i", "earned_date": NOW,
            "last_earned_date": NOW,
        }],
        "notes": [{
            "tutor_id": id_, "subject_kind": "tutor", "subject_id": id_, "at": NOW,
            "author": "ada", "text": f"{id_} is on leave",
        }],
        "rule_overrides": [{
            "tutor_id": id_, "kind": "alert", "rule_id": "no_show_pattern", "disabled": True,
            "reason": "on leave", "set_by": "ada", "set_at": NOW,
        }],
        "session_excuses": [{
            "tutor_id": id_, "session_id": session, "kind": "absence",
            "reason": f"{id_} was ill", "excused_by": "ada", "excused_at": NOW,
        }],
        "current_tutor_risk": [{
            "tutor_id": id_, "as_of": NOW, "scorer": "s", "version": "1", "is_probability": False,
            "status": "ok",
        }],
        "tutor_scores": [{**_SCORE, "tutor_id": id_}],
        "tutor_health": [{"tutor_id": id_, "as_of": NOW}],
        "tutor_student_churn": [{
            "tutor_id": id_, "as_of": NOW, "students": 1, "students_at_high_risk": 1,
            "student_ids": [f"St of {id_}"],
        }],
        "feature_log": [_logged("tutor", id_)],
        "session_ledger": [{"tutor_id": id_, "session_id": session, "processed_at": NOW}],
        "session_changes": [{
            "run_id": "r", "tutor_id": id_, "session_id": session, "pending_since": NOW,
        }],
        "set_aside_tutors": [{
            "tutor_id": id_, "reason": f"tutor {id_}: no", "attempts": 1, "set_aside_at": NOW,
            "retry_at": NOW,
        }],
        "history_repairs": [{"tutor_id": id_, "changed_on": TODAY, "noted_at": NOW}],
        "refresh_scope": [{"run_id": "r", "as_of": NOW, "tutor_id": id_}],
        "quarantine": [
            {**_ENTRY, "row_key": f"of {id_}", "business_key": session,
             "payload": Jsonb({"session_id": session, "tutor_id": id_, "rating": "5"})},
            {**_ENTRY, "source": "events:shop", "row_key": f"e3 of {id_}", "business_key": session,
             "payload": Jsonb({"type": "session.feedback", "session_id": session})},
        ],
        "event_inbox": [
            {**_EVENT, "event_id": f"e1 of {id_}", "tutor_id": id_, "session_id": session,
             "body": json.dumps({"data": {"tutor_id": id_, "session_id": session}})},
            {**_EVENT, "event_id": f"e2 of {id_}", "tutor_id": id_[:255], "type": "users.deleted",
             "student_id": id_[:255], "body": json.dumps({"data": {"id": id_}})},
            # These say only which session it is.
            {**_EVENT, "event_id": f"e3 of {id_}", "session_id": session, "state": "quarantined",
             "waits_on": [f"sessions/{session}"]},
            {**_EVENT, "event_id": f"e4 of {id_}", "session_id": f"new of {id_}"},
            {**_EVENT, "event_id": f"e5 of {id_}", "session_id": f"newer of {id_}"},
        ],
        "event_versions": [
            _row("sessions", session, tutor_id=id_, session_id=session,
                 versions=[["2026", 4, f"shop/e1 of {id_}", ["status"]]]),
            _row("sessions", f"new of {id_}", tutor_id=id_, session_id=f"new of {id_}",
                 kept=Jsonb({"tutor_id": id_}), waits_on=[f"tutors/{id_}"]),
            _row("sessions", f"newer of {id_}", tutor_id=id_, session_id=f"newer of {id_}",
                 deleted=Jsonb(["2026", 9, f"shop/e1 of {id_}"])),
            _row("session_feedback", session, session_id=session),
            _row("tutors", id_, tutor_id=id_),
            _row("users", id_),
            _row("student_progress", "St9", id_, "2026-11-01", tutor_id=id_),
        ],
        "incidents": [{
            "kind": "tutor_set_aside", "subject": id_, "title": f"tutor {id_} is set aside",
            "details": Jsonb({"why": f"tutor {id_}: no"}), "opened_at": NOW, "last_seen_at": NOW,
        }],
        "outbox": [{**_TOLD, "kind": "alert", "tutor_id": id_, "subject_id": f"a{id_}",
                    "transition": "opened 1"}],
        "messages": [{
            **_MESSAGE, "message_id": f"m{id_}", "tutor_ids": [id_], "subject": f"tutor {id_}",
            "text_body": f"Tutor {id_} needs a call", "html_body": f"<td>tutor {id_}</td>",
        }],
        "deliveries": [{"message_id": f"m{id_}", "target": "mail://x/ada", "due_at": NOW}],
    }  # fmt: skip


def _logged(subject, id_):
    return {"subject": subject, "as_of_date": NOW.date(), f"{subject}_id": id_, "numbers": [1.0]}


def of_student(id_):
    """The same of a student."""
    alert = {
        **of_tutor(id_)["alerts"][0], "tutor_id": "", "subject_kind": "student",
        "session_id": None, "evidence_session_ids": [], "known_session_ids": [],
    }  # fmt: skip
    return {
        "alerts": [alert, {**alert, "tutor_id": "T9"}],
        "alert_events": [
            {**of_tutor(id_)["alert_events"][0], "tutor_id": tutor_id, "details": Jsonb({})}
            for tutor_id in ("", "T9")
        ],
        "notes": [
            {**of_tutor(id_)["notes"][0], "subject_kind": "student", "tutor_id": tutor_id}
            for tutor_id in ("", "T9")
        ],
        "student_scores": [{**_SCORE, "student_id": id_}],
        "student_health": [{"student_id": id_, "as_of": NOW}],
        "feature_log": [_logged("student", id_)],
        "quarantine": [
            {**_ENTRY, "row_key": f"of {id_}",
             "payload": Jsonb({"tutor_id": "T9", "student_id": id_})},
        ],
        "event_inbox": [
            {**_EVENT, "event_id": f"e1 of {id_}", "tutor_id": "T9", "student_id": id_,
             "session_id": f"S with {id_}", "body": json.dumps({"data": {"student_id": id_}})},
            {**_EVENT, "event_id": f"e2 of {id_}", "session_id": f"S with {id_}",
             "type": "session.feedback", "body": '{"data":{"feedback_text":"I liked it"}}'},
            {**_EVENT, "event_id": f"e3 of {id_}", "session_id": f"S with {id_}",
             "type": "session_transcript_highlights.upserted", "body": '{"data":{"text":"oh"}}'},
        ],
        "event_versions": [
            _row("students", id_),
            _row("users", id_),
            _row("student_churn_reasons", id_, "price"),
            _row("student_progress", id_, "T9", "2026-11-01", tutor_id="T9"),
            _row("session_students", f"S with {id_}", id_, session_id=f"S with {id_}"),
            _row("session_transcript_highlights", f"H of {id_}", session_id=f"S with {id_}"),
        ],
    }  # fmt: skip


def insert(database, rows):
    for table, each in rows.items():
        for values in each:
            database.execute(
                sql.SQL("insert into {} ({}) values ({})").format(
                    sql.Identifier("ops", table),
                    sql.SQL(", ").join(map(sql.Identifier, values)),
                    sql.SQL(", ").join(map(sql.Placeholder, values)),
                ),
                values,
            )


def state(database):
    """{table: rows} of `ops`."""
    return {
        table: sorted(
            text
            for (text,) in database.execute(
                sql.SQL("select t::text from {} as t").format(sql.Identifier("ops", table))
            )
        )
        for table in sizes(database, "ops")
    }


@pytest.fixture
def database(warehouse):
    """A transaction that leaves nothing behind."""
    with warehouse.connect() as database, database.transaction(force_rollback=True):
        yield database


def forget(database, role, id_):
    """Erase, and see that nothing is left, and that a second time there is nothing to erase."""
    person = erasure.known(database, role, id_)
    erased = erase(database, person)
    assert left(database, person, database.schemas.ours) == []
    again = erasure.known(database, role, id_)
    assert erase(database, again) == {}
    return erased


def alike(id_):
    return [f"{id_}0", f"1{id_}", f"{id_}-2", f"{id_}.5"]


@pytest.mark.parametrize("id_", IDS)
@pytest.mark.parametrize(("role", "rows_of"), [(Role.TUTOR, of_tutor), (Role.STUDENT, of_student)])
def test_all_of_a_persons_rows_go_and_nobody_elses(database, role, rows_of, id_):
    for other in alike(id_):
        insert(database, rows_of(other))
    before = state(database)
    theirs = rows_of(id_)
    insert(database, theirs)
    erased = forget(database, role, id_)
    assert erased == {f"ops.{table}": len(rows) for table, rows in theirs.items()}
    assert state(database) == before


def test_there_are_rows_above_of_every_table_that_has_rows_of_a_person():
    for role, rows_of in ((Role.TUTOR, of_tutor), (Role.STUDENT, of_student)):
        ruled = {rule.table for rule in RULES if rule.of(role) and rule.table.startswith("ops.")}
        of_their_own = ruled - {"ops.tutor_student_churn"} if role is Role.STUDENT else ruled
        assert {f"ops.{table}" for table in rows_of("x")} - {"ops.messages", "ops.deliveries"} == (
            of_their_own
        )


def test_every_table_of_ops_has_a_rule_or_a_reason(warehouse):
    with warehouse.connect() as database:
        tables = {f"ops.{table}" for table in sizes(database, "ops")}
    ruled = [rule.table for rule in RULES]
    assert len(ruled) == len(set(ruled))
    assert not set(ruled) & set(NOTHING_PERSONAL)
    assert {name for name in {*ruled, *NOTHING_PERSONAL} if name.startswith("ops.")} == tables


@pytest.mark.parametrize("id_", IDS)
def test_what_is_about_others_too_stays_without_the_id(database, id_):
    near = f"{id_}0"
    insert(
        database,
        {
            "reconcile_runs": [
                {**_RUN, "kind": "alert", "skipped": Jsonb({id_: "a rating is NaN", near: "why"})}
            ],
            "dq_results": [
                {**_CHECK, "check_name": "a", "message": f"tutor {id_} and tutor {near} break it",
                 "sample": Jsonb([{"tutor_id": id_, "n": 3}, {"tutor_id": near, "n": 5}])},
            ],
            "incidents": [
                {"kind": "tutor_set_aside", "subject": "the other tutors",
                 "title": "5 tutors are set aside",
                 "details": Jsonb({"why": f"tutor {id_}: no", "tutors": [near, id_]}),
                 "opened_at": NOW, "last_seen_at": NOW},
            ],
            "alerts": [
                {**of_tutor(near)["alerts"][0], "acknowledged_at": NOW, "acknowledged_by": "ada",
                 "acknowledged_note": f"as tutor {id_}, 5 times"},
            ],
        },
    )  # fmt: skip
    assert forget(database, Role.TUTOR, id_) == {
        "ops.reconcile_runs": 1, "ops.dq_results": 2, "ops.incidents": 1, "ops.alerts": 1,
    }  # fmt: skip
    rows = database.execute(
        "select skipped, sample, message, incidents.title, incidents.details, acknowledged_note"
        " from ops.reconcile_runs, ops.dq_results, ops.incidents, ops.alerts"
    ).fetchall()
    assert rows == [
        (
            {ERASED: "a rating is NaN", near: "why"},
            [{"tutor_id": ERASED, "n": 3}, {"tutor_id": near, "n": 5}],
            f"tutor {ERASED} and tutor {near} break it",
            "5 tutors are set aside",
            {"why": f"tutor {ERASED}: no", "tutors": [near, ERASED]},
            f"as tutor {ERASED}, 5 times",
        )
    ]


def test_a_sample_that_shows_only_a_session_of_theirs(database):
    insert(database, {"session_ledger": [{"tutor_id": "T1", "session_id": "S1"}]})
    sample = [{"session_id": "S1", "score": 12}, {"session_id": "S10", "score": 13}]
    insert(database, {"dq_results": [{**_CHECK, "check_name": "a", "sample": Jsonb(sample)}]})
    forget(database, Role.TUTOR, "T1")
    (kept,) = database.execute("select sample from ops.dq_results").fetchone()
    assert kept == [{"session_id": ERASED, "score": 12}, {"session_id": "S10", "score": 13}]


def test_a_line_that_could_not_be_read_goes_when_any_field_is_the_id(database):
    lines = ['S1,T1,"broken', "S2,T10,broken", 'S3,"T1",broken', "T1"]
    insert(
        database,
        {
            "quarantine": [
                {**_ENTRY, "source": "csv:sessions.csv", "row_key": line, "raw": line,
                 "payload": Jsonb({"raw": line})}
                for line in lines
            ]
        },
    )  # fmt: skip
    assert forget(database, Role.TUTOR, "T1") == {"ops.quarantine": 3}
    assert database.execute("select raw from ops.quarantine").fetchall() == [("S2,T10,broken",)]


def test_a_student_leaves_their_tutors_rows(database):
    insert(database, of_tutor("T9"))
    database.execute(
        "update ops.tutor_student_churn set student_ids = '{{St1,St10,St2}}', students = 3,"
        " students_at_high_risk = 3"
    )
    database.execute(
        "update ops.alert_events set details = %s", (Jsonb({"note": "the mother of St1 called"}),)
    )
    assert forget(database, Role.STUDENT, "St1") == {
        "ops.tutor_student_churn": 1, "ops.alert_events": 1,
    }  # fmt: skip
    assert database.execute(
        "select student_ids, details from ops.tutor_student_churn, ops.alert_events"
    ).fetchall() == [(["St10", "St2"], {"note": f"the mother of {ERASED} called"})]


def test_the_words_about_a_lesson_go_with_anybody_on_its_list(database):
    database.execute(
        "create table marts.fct_sessions (tutor_id text, session_id text, student_id text,"
        " feedback_text text, reschedule_reason text);"
        "create table marts.fct_session_students (tutor_id text, session_id text, student_id text);"
        "insert into marts.fct_sessions values ('T1', 'shared', null, 'I liked it', null),"
        " ('T1', 'of others', null, 'so did I', null);"
        "insert into marts.fct_session_students values ('T1', 'shared', 'St1'),"
        " ('T1', 'shared', 'St2'), ('T1', 'of others', 'St2')"
    )
    assert forget(database, Role.STUDENT, "St1") == {
        "marts.fct_sessions": 1, "marts.fct_session_students": 1,
    }  # fmt: skip
    assert database.execute(
        "select session_id, feedback_text from marts.fct_sessions order by 1"
    ).fetchall() == [("of others", "so did I"), ("shared", None)]


def test_a_message_still_on_its_way_is_made_anew_for_the_others(database):
    """Of two messages about two tutors the one is sent, the other waits."""
    for message, state_ in (("sent", "sent"), ("waits", "waiting")):
        insert(
            database,
            {
                "messages": [{**_MESSAGE, "message_id": message, "tutor_ids": ["T1", "T2"],
                              "subject": "2 tutors", "text_body": "…", "html_body": "…"}],
                "deliveries": [{"message_id": message, "target": "mail", "due_at": NOW,
                                "state": state_, "ended_at": NOW if state_ == "sent" else None}],
                "outbox": [
                    {**_TOLD, "kind": "alert", "tutor_id": tutor, "subject_id": message,
                     "transition": "opened 1", "message_id": message}
                    for tutor in ("T1", "T2")
                ],
            },
        )  # fmt: skip
    assert forget(database, Role.TUTOR, "T1") == {
        "ops.messages": 2, "ops.deliveries": 2, "ops.outbox": 2,
    }  # fmt: skip
    assert database.execute(
        "select tutor_id, subject_id, message_id from ops.outbox order by 2"
    ).fetchall() == [("T2", "sent", "sent"), ("T2", "waits", None)]
    assert database.execute("select * from ops.deliveries").fetchall() == []


def test_values_of_events_stay_without_the_student_and_their_words(database):
    """Of rows that wait, and of events about others."""
    insert(database, {
        "event_inbox": [
            {**_EVENT, "event_id": "booked", "tutor_id": "T9", "student_id": "St1",
             "session_id": "S1"},
            {**_EVENT, "event_id": "held", "tutor_id": "T9", "session_id": "S1"},
            {**_EVENT, "event_id": "other", "tutor_id": "T9", "session_id": "S2", "error": "St1?",
             "body": '{"data":{"feedback_text":"St1 was late, St10 too"}}'},
        ],
        "event_versions": [
            _row("sessions", "S1", tutor_id="T9", session_id="S1", waits_on=["tutors/T9"],
                 versions=[["2026", 1, "shop/for St1", ["student_id", "tutor_id"]]],
                 kept=Jsonb({"tutor_id": "T9", "student_id": "St1", "reschedule_reason": "ill"})),
            _row("sessions", "S2", tutor_id="T9", session_id="S2",
                 kept=Jsonb({"student_id": "St10", "reschedule_reason": "ill"})),
            _row("session_feedback", "S1", session_id="S1",
                 kept=Jsonb({"feedback_text": "so did I", "student_satisfaction_rating": 4})),
            _row("session_feedback", "S2", session_id="S2", kept=Jsonb({"feedback_text": "no"})),
        ],
        "event_rejections": [
            {"hour": NOW, "source": "shop", "reason": "late", "requests": 1, "last_at": NOW,
             "last_id": "about St1"},
        ],
    })  # fmt: skip
    assert forget(database, Role.STUDENT, "St1") == {
        "ops.event_inbox": 3, "ops.event_versions": 3, "ops.event_rejections": 1,
    }  # fmt: skip
    assert database.execute(
        "select event_id, body, error, digest from ops.event_inbox order by 1"
    ).fetchall() == [
        ("held", "{}", None, b"d"),
        ("other", f'{{"data":{{"feedback_text":"{ERASED} was late, St10 too"}}}}', f"{ERASED}?",
         b""),
    ]  # fmt: skip
    assert database.execute(
        "select row_name, kept, versions from ops.event_versions order by 1"
    ).fetchall() == [
        ("session_feedback/S1", {"student_satisfaction_rating": 4}, []),
        ("session_feedback/S2", {"feedback_text": "no"}, []),
        ("sessions/S1", {"tutor_id": "T9"},
         [["2026", 1, f"shop/for {ERASED}", ["student_id", "tutor_id"]]]),
        ("sessions/S2", {"student_id": "St10", "reschedule_reason": "ill"}, []),
    ]  # fmt: skip


def test_an_id_that_is_a_number_is_not_that_of_something_else_in_events(database):
    kept = {"tutor_id": "7", "subject_id": "5", "notes": "tutor 5 is away"}
    insert(database, {
        "event_inbox": [{**_EVENT, "event_id": "e5", "session_id": "5", "tutor_id": "7",
                         "body": '{"data":{"session_id":"5","tutor_id":"7","rating":5}}'}],
        "event_versions": [_row("sessions", "8", kept=Jsonb(kept), tutor_id="7", session_id="8")],
    })  # fmt: skip
    person = erasure.known(database, Role.TUTOR, "5")
    assert erase(database, person) == {"ops.event_versions": 1}
    assert database.value("select kept from ops.event_versions") == {
        **kept, "notes": f"tutor {ERASED} is away",
    }  # fmt: skip


def test_a_session_that_another_tutor_has_by_now_is_that_ones(database):
    insert(database, {
        "session_ledger": [{"tutor_id": "T1", "session_id": "S1"}],
        "event_inbox": [
            {**_EVENT, "event_id": "booked", "tutor_id": "T1", "session_id": "S1"},
            {**_EVENT, "event_id": "moved", "tutor_id": "T2", "session_id": "S1"},
            {**_EVENT, "event_id": "held", "session_id": "S1"},
        ],
        "event_versions": [
            _row("sessions", "S1", tutor_id="T2", session_id="S1"),
            _row("session_feedback", "S1", session_id="S1"),
        ],
    })  # fmt: skip
    assert forget(database, Role.TUTOR, "T1") == {"ops.session_ledger": 1, "ops.event_inbox": 1}
    assert database.execute("select event_id from ops.event_inbox order by 1").fetchall() == [
        ("held",), ("moved",),
    ]  # fmt: skip


def waits(warehouse, work):
    """Sees that it waits for a lock, and ends it."""
    with (
        warehouse.connect(autocommit=True) as other,
        warehouse.connect(autocommit=True) as observer,
        ThreadPoolExecutor() as pool,
    ):
        pid = other.info.backend_pid
        done = pool.submit(work, other)
        locks = "select count(*) from pg_locks where pid = %s and not granted"
        until(lambda: done.done() or observer.value(locks, (pid,)), "it waits")
        observer.execute("select pg_cancel_backend(%s)", (pid,))
        with pytest.raises(QueryCanceled):
            done.result()


def test_meanwhile_nobody_composes_compares_or_replays(database):
    """What they read before the erasure they could write after it."""
    erase(database, erasure.known(database, Role.TUTOR, "T1"))
    setting = Setting("http://ui", "http://reports", "UTC", NOW)

    def in_a_transaction(other):
        with other.transaction():
            compose(other, {}, setting)

    for work in (
        in_a_transaction,
        lambda other: ledger.set_aside(other, "T1", "no", "r", NOW),
        lambda other: ledger.take(other, "r", NOW),
        lambda other: applying.replay(other, NOW),
    ):
        waits(database.warehouse, work)
    with database.warehouse.connect(autocommit=True) as other:
        assert applying.apply_waiting(other, NOW) == applying.Applied(is_held_up=True)


def test_what_is_left_is_told_with_its_place(database):
    """A student of the same id is somebody else, as far as we know."""
    insert(database, of_student("X"))
    insert(database, of_tutor("T9"))
    database.execute("update ops.alerts set description = 'as X does' where subject_id = 'T9'")
    database.execute("update ops.quarantine set row_key = md5(row_key)")
    database.execute(
        "update ops.event_inbox set event_id = md5(event_id), session_id = md5(session_id);"
        "delete from ops.event_versions where table_name not in ('students', 'users')"
    )
    person = erasure.known(database, Role.TUTOR, "X")
    erase(database, person)
    found = left(database, person, database.schemas.ours)
    assert found == [
        Left("ops.alerts", "subject_id", 2, True),
        Left("ops.alerts", "description", 1, False),
        Left("ops.event_inbox", "body", 1, True),
        Left("ops.event_inbox", "student_id", 1, True),
        Left("ops.event_versions", "row_name", 1, True),
        Left("ops.event_versions", "row_key", 1, True),
        Left("ops.feature_log", "student_id", 1, True),
        Left("ops.notes", "subject_id", 2, True),
        Left("ops.quarantine", "payload", 1, True),
        Left("ops.student_health", "student_id", 1, True),
        Left("ops.student_scores", "student_id", 1, True),
    ]


def test_an_erasure_is_noted_without_whom_it_was_about(database):
    at = NOW + timedelta(days=1)
    record(database, Role.TUTOR, {"ops.alerts": 2}, by="ada", at=at)
    assert database.execute(
        "select erased_at, erased_by, role, rows from ops.erasures"
    ).fetchall() == [(at, "ada", "tutor", {"ops.alerts": 2})]


def test_what_a_killed_build_left_is_dropped(database):
    database.execute("create table marts.fct_sessions__dbt_backup (tutor_id text)")
    database.execute("create table marts.mine (tutor_id text)")
    erasure.drop_remains(database)
    assert set(sizes(database, "marts")) == {"mine"}


def test_with_a_prefix_and_schemas_of_these_names_that_are_not_ours(databases):
    warehouse = Warehouse(databases.create(migrated=False), Schemas(prefix="tutor_"))
    upgrade(warehouse)
    with warehouse.connect() as database:
        database.execute("create schema ops; create table ops.alerts (tutor_id text)")
        database.execute("insert into ops.alerts values ('T1')")
        database.execute(
            "insert into tutor_ops.history_repairs values ('T1', %s, %s)", (TODAY, NOW)
        )
        assert forget(database, Role.TUTOR, "T1") == {"ops.history_repairs": 1}
        assert database.execute("select * from ops.alerts").fetchall() == [("T1",)]
