-- Every sampled problem has exactly sample.n rationales of a model, numbered 0 to n - 1; of imported ones any number.
select
    rationales.model_id,
    rationales.problem_id,
    count(distinct rationales.sample_index) as draws
from rationales
inner join experiments on rationales.experiment = experiments.experiment
where
    rationales.experiment = getvariable('experiment')
    and rationales.round = getvariable('round')
group by rationales.model_id, rationales.problem_id, experiments.recipe
having
    (
        count(*) != (experiments.recipe ->> '$.sample.n')::integer
        and not ends_with(rationales.model_id, '/imported')
    )
    or count(distinct rationales.sample_index) != count(*)
