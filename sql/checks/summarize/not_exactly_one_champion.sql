-- A round has one row, names its champion, and promotes at most one model.
with promoted as (
    select count(distinct model_id) as model_count
    from scores
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
        and promoted
)

select
    rounds.candidate,
    rounds.champion,
    promoted.model_count
from rounds
cross join promoted
where
    rounds.experiment = getvariable('experiment')
    and rounds.round = getvariable('round')
    and (rounds.champion is null or promoted.model_count != rounds.promoted::integer)
