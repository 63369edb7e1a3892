-- Grain: one row per wrong rationale and explored step, with how many rollouts reached the gold answer.
select
    experiment,
    round,
    rationale_id,
    problem_id,
    step_index,
    any_value(step_count) as step_count,
    any_value(prefix) as prefix,
    count_if(is_correct) as pass_count,
    count(*) as draw_count
from rollouts
group by experiment, round, rationale_id, problem_id, step_index
