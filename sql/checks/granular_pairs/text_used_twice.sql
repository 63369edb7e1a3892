-- Per problem no chosen and no rejected text stands in two kept pairs.
with texts as (
    select
        problem_id,
        'chosen' as side,
        chosen as text
    from pairs
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
        and kind = 'granular'
        and is_kept
    union all
    select
        problem_id,
        'rejected' as side,
        rejected as text
    from pairs
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
        and kind = 'granular'
        and is_kept
)

select
    problem_id,
    side,
    text,
    count(*) as uses
from texts
group by problem_id, side, text
having count(*) > 1
