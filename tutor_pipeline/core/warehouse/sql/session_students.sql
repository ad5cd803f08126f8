-- Who takes part in lessons of several students. Made where there are some: with the table, a
-- lesson counts for each of its students, which costs a join (macro has_groups).
create table if not exists {platform}.session_students (
    session_id text not null,
    student_id text not null,
    attended boolean,
    student_satisfaction_rating numeric(4, 2),
    is_first boolean,
    primary key (session_id, student_id)
);
