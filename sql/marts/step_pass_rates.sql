-- Grain: one row per explored wrong rationale and step: the share of rollouts that still reach the gold answer.
-- With explore.adaptive or explore.confirm drawing stops at a success, so that the share is no rate of the step (too
-- high with adaptive): `is_first_correct`, the step's first rollout alone, is fair whatever the options.
select
    steps.experiment,
    steps.round,
    steps.rationale_id,
    steps.problem_id,
    steps.step_index,
    steps.step_count,
    steps.pass_count,
    steps.draw_count,
    steps.pass_count / steps.draw_count as pass_rate,
    steps.is_first_correct
from int_explored_steps as steps
