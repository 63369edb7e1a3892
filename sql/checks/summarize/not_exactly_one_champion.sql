-- A round has one row, names its champion, and promotes at most one model.
with promoted as (
    select count(distinct model_id) as model_count
    from scores
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
        and promoted
),

summarized as (
    select
        count(*) as row_count,
        any_value(candidate) as candidate,
        any_value(champion) as champion,
        count_if(promoted) as promotions
    from rounds
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
)

select
    summarized.row_count,
    summarized.candidate,
    summarized.champion,
    promoted.model_count
from summarized
cross join promoted
where
    summarized.row_count != 1
    or summarized.champion is null
    or promoted.model_count != summarized.promotions
