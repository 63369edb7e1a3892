-- Every evaluated model answers every dev and test problem exactly once; test problems of the benchmarks that are only
-- measured (problems.benchmarks) are not the round's.
with models as (
    select distinct model_id from evaluations
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
),

final as (
    select
        models.model_id,
        problems.problem_id,
        count(evaluations.problem_id) as answers
    from models
    cross join problems
    left join evaluations
        on
            problems.experiment = evaluations.experiment
            and problems.problem_id = evaluations.problem_id
            and models.model_id = evaluations.model_id
            and evaluations.round = getvariable('round')
    cross join experiments
    where
        problems.experiment = getvariable('experiment')
        and experiments.experiment = getvariable('experiment')
        and (
            problems.split = 'dev'
            or (
                problems.split = 'test'
                and not list_contains(
                    json_extract_string(experiments.recipe, '$.problems.benchmarks[*].name'), problems.source
                )
            )
        )
    group by models.model_id, problems.problem_id
)

select * from final
where answers != 1
