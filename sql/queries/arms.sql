-- Is Self-Explore's policy better than the explorer, more RFT and outcome DPO?
-- Points of accuracy, with their 95% interval.
select
    experiment,
    round,
    split,
    model_id,
    baseline_id,
    round(100 * difference, 1) as difference,
    round(100 * difference_low, 1) as low,
    round(100 * difference_high, 1) as high,
    gained,
    lost,
    problem_count
from comparisons
where model_id like '%/policy'
order by experiment, round, split, model_id, baseline_id
