-- Which rationales reach the right answer by luck, through an equation that is wrong?
select
    rft_examples.experiment,
    rft_examples.round,
    rft_examples.rationale_id,
    stg_problems.gold_answer,
    rft_examples.equation_chain,
    rft_examples.text,
    stg_problems.question
from rft_examples
inner join stg_problems
    on
        rft_examples.experiment = stg_problems.experiment
        and rft_examples.problem_id = stg_problems.problem_id
where rft_examples.drop_reason = 'false_equation'
order by rft_examples.experiment, rft_examples.round, rft_examples.rationale_id
limit 100
