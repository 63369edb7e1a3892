-- Grain: one row per ordered pair of models of an experiment, benchmark and split: of the problems that both answered,
-- how many only the model solves (gained) and how many only the baseline does (lost).
select
    experiment,
    model_id,
    baseline_id,
    benchmark,
    split,
    count(*)::integer as problem_count,
    count_if(difference = 1)::integer as gained,
    count_if(difference = -1)::integer as lost
from int_paired_answers
group by experiment, model_id, baseline_id, benchmark, split
