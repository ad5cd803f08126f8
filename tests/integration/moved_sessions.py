"""Tutors who have an alert whatever the day: the synthetic platform ends yesterday."""


def tutors_reschedule(tutors: int) -> str:
    """Returns SQL by which so many tutors reschedule half of their sessions of 28 days."""
    return f"""
        with chosen as (
            select tutor_id from platform.sessions
            where status = 'completed' and scheduled_start > now() - interval '28 days'
            group by tutor_id order by count(*) desc, tutor_id limit {tutors}
        ), moved as (
            update platform.sessions set status = 'rescheduled', rescheduled_by = 'tutor'
            where tutor_id in (select tutor_id from chosen) and status = 'completed'
                and scheduled_start > now() - interval '28 days' and hashtext(id) % 2 = 0
            returning id
        )
        delete from platform.session_feedback where session_id in (select id from moved)
    """
