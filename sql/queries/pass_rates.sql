-- How often can a wrong rationale still be saved, step by step?
-- The step's first rollout alone is fair whatever the options of exploring.
select
    experiment,
    round,
    step_index,
    count(*) as rationale_count,
    round(100 * avg(is_first_correct::integer), 1) as first_rollout_percent,
    round(100 * sum(pass_count) / sum(draw_count), 1) as all_rollouts_percent
from step_pass_rates
group by experiment, round, step_index
order by experiment, round, step_index
