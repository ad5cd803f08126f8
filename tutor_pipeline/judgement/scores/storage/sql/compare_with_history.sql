-- The logged rows of each day, and what history says of them now where it says something else.
with days as (
    select
        as_of_date,
        logged_at
    from {ops}.feature_log_days
    where subject = %(subject)s and definition = %(definition)s
),

logged as (
    select
        as_of_date,
        {key} as who,
        numbers
    from {ops}.feature_log
    where subject = %(subject)s
),

history as (
    select
        as_of_date,
        {key} as who,
        {numbers} as numbers_now,
        recorded_until
    from {history}
),

compared as (
    select
        logged.as_of_date,
        days.logged_at,
        logged.who,
        logged.numbers,
        history.numbers_now,
        (logged.numbers is distinct from history.numbers_now) as differs
    from days
    inner join logged on days.as_of_date = logged.as_of_date
    inner join history on logged.as_of_date = history.as_of_date and logged.who = history.who
    where history.recorded_until is null or history.recorded_until <= days.logged_at
)

select
    as_of_date,
    logged_at,
    count(*) as compared,
    array_agg(who order by who) filter (where differs) as whose,
    array_agg(numbers order by who) filter (where differs) as said_then,
    array_agg(numbers_now order by who) filter (where differs) as said_now
from compared
group by as_of_date, logged_at
order by as_of_date
