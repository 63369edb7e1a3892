-- Which test problems does a round's policy solve that the first model did not?
with first_model as (
    select * from evaluations
    where round = 0 and split = 'test'
),

final as (
    select
        later.experiment,
        later.round,
        stg_problems.question,
        stg_problems.gold_answer,
        first_model.text as before,
        later.text as after
    from evaluations as later
    inner join first_model
        on
            later.experiment = first_model.experiment
            and later.benchmark = first_model.benchmark
            and later.split = first_model.split
            and later.problem_id = first_model.problem_id
    inner join stg_problems
        on
            later.experiment = stg_problems.experiment
            and later.problem_id = stg_problems.problem_id
    where later.model_id like '%/policy' and later.is_correct_strict and not first_model.is_correct_strict
)

select * from final
order by experiment, round, question
limit 10
