-- Grain: one row per explored wrong rationale and step: the share of rollouts that still reach the gold answer.
select
    experiment,
    round,
    rationale_id,
    problem_id,
    step_index,
    step_count,
    pass_count,
    draw_count,
    pass_count / draw_count as pass_rate
from int_explored_steps
