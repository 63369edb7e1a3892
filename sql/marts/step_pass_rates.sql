-- Grain: one row per explored wrong rationale and step: the share of rollouts that still reach the gold answer.
-- With explore.adaptive, explore.confirm or noisy_binary drawing stops at a success, so that the share is no rate of
-- the step (too high): `is_first_correct`, the step's first rollout alone, is fair whatever the options.
-- rationale_id: the wrong rationale
-- problem_id: its problem
-- step_index: 1-based: the rollouts were drawn after steps 1..step_index
-- step_count: steps of the rationale that may be explored
-- pass_count: rollouts that reached the gold answer
-- draw_count: rollouts drawn
-- pass_rate: share of rollouts that reached the gold answer
-- is_first_correct: whether the step's first rollout reached the gold answer
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
