-- Every sampled problem has exactly sample.n (or by_round.n) rationales of a model, numbered from 0; of imported ones
-- any number.
with recipes as (
    select
        experiment,
        cast(recipe -> '$.by_round.n' as integer[]) as by_round,
        cast(recipe ->> '$.sample.n' as integer) as n
    from experiments
    where experiment = getvariable('experiment')
),

asked as (
    select
        experiment,
        coalesce(by_round[cast(least(getvariable('round'), len(by_round)) as bigint)], n) as draw_count
    from recipes
)

select
    rationales.model_id,
    rationales.problem_id,
    count(distinct rationales.sample_index) as draws
from rationales
inner join asked on rationales.experiment = asked.experiment
where
    rationales.experiment = getvariable('experiment')
    and rationales.round = getvariable('round')
group by rationales.model_id, rationales.problem_id, asked.draw_count
having
    (
        count(*) != asked.draw_count
        and not ends_with(rationales.model_id, '/imported')
    )
    or count(distinct rationales.sample_index) != count(*)
