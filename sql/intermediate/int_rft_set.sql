-- Grain: one row per text of a round's RFT training set, in a fixed order.
select
    rft_examples.experiment,
    rft_examples.round,
    rft_examples.problem_id,
    rft_examples.origin,
    stg_problems.question,
    rft_examples.text
from rft_examples
inner join stg_problems
    on
        rft_examples.experiment = stg_problems.experiment
        and rft_examples.problem_id = stg_problems.problem_id
where rft_examples.is_kept
order by rft_examples.problem_id, rft_examples.rationale_id nulls first
