"""A platform that lists who takes part: a pass makes of a lesson what a full refresh makes."""

from __future__ import annotations

from tests.integration.refreshes import Refreshes, differences, tables


def test_a_pass_makes_the_students_of_its_lessons(new_project, tmp_path):
    project = new_project(TUTOR_RULE_PROFILE="conservative")
    project.run("generate", "--tutors", "12", "--days", "20")
    project.execute(
        "delete from platform.sessions where status = 'scheduled';"
        "create table platform.session_students (session_id text, student_id text,"
        " attended boolean)"
    )
    ((tutor,),) = project.query("select min(tutor_id) from platform.sessions")
    students = [
        row[0] for row in project.query("select user_id from platform.students order by 1 limit 3")
    ]
    refreshes = Refreshes(tmp_path, project.environment)
    try:
        refreshes.run("daily_refresh")
        project.execute(
            "insert into platform.sessions (id, tutor_id, scheduled_start, actual_start,"
            " completed_at, status, tutor_showed_up)"
            f" select 'group', '{tutor}', at, at, at + interval '1 hour', 'completed', true"
            " from (select now() - interval '2 hours') as start (at);"
            "insert into platform.session_students"
            f" values ('group', '{students[0]}', true), ('group', '{students[1]}', false)"
        )
        outcome = refreshes.run()
        assert outcome.of("marts/fct_session_students")
        # Who joins later is a change of the lesson.
        project.execute(
            f"insert into platform.session_students values ('group', '{students[2]}', true)"
        )
        refreshes.run()
        took_part = project.query(
            "select student_id, status from marts.fct_session_students"
            " where session_id = 'group' order by 1"
        )
        assert took_part == [
            (students[0], "completed"),
            (students[1], "no_show_student"),
            (students[2], "completed"),
        ]
        after_passes = tables(project.url)
        refreshes.run("daily_refresh")
        assert differences(after_passes, tables(project.url)) == {}
    finally:
        refreshes.stop()
