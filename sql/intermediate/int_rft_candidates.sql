-- Grain: one row per candidate for a round's RFT set beside the gold rationales: correct ones drawn in the round, and
-- (model_id and sample_index null) those that the round before kept, which holds those of the rounds before it.
select
    experiment,
    round,
    model_id,
    problem_id,
    rationale_id,
    sample_index,
    text
from int_correct_rationales
union all
select
    experiment,
    round + 1 as round,
    null as model_id,
    problem_id,
    rationale_id,
    null as sample_index,
    text
from rft_examples
where is_kept and origin = 'sampled'
