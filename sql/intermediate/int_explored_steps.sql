-- Grain: one row per wrong rationale and explored step, with how many rollouts reached the gold answer.
-- `is_imported`: drawn elsewhere, where the recipe's k and its other options of exploring did not hold.
select
    experiment,
    round,
    rationale_id,
    problem_id,
    step_index,
    any_value(step_count) as step_count,
    any_value(prefix) as prefix,
    count_if(is_correct) as pass_count,
    count(*) as draw_count,
    bool_or(is_correct and rollout_index = 0) as is_first_correct,
    bool_or(model_id like '%/imported') as is_imported
from rollouts
group by experiment, round, rationale_id, problem_id, step_index
