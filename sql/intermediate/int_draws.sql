-- Grain: one row per rollout as it was drawn. Rationales of a problem with the same first steps share their rollouts:
-- rows of `rollouts` that agree in problem, prefix and rollout_index show one draw, whose tokens were paid once.
select
    experiment,
    round,
    problem_id,
    prefix,
    rollout_index,
    any_value(model_id) as model_id,
    max(token_count) as token_count
from rollouts
group by experiment, round, problem_id, prefix, rollout_index
