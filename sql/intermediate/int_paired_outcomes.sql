-- Grain: one row per ordered pair of models of an experiment, benchmark and split: of the problems that both answered,
-- how many only the model solves (gained) and how many only the baseline does (lost).
select
    model.experiment,
    model.model_id,
    baseline.model_id as baseline_id,
    model.benchmark,
    model.split,
    count(*)::integer as problem_count,
    count_if(model.is_correct_strict and not baseline.is_correct_strict)::integer as gained,
    count_if(baseline.is_correct_strict and not model.is_correct_strict)::integer as lost
from evaluations as model
inner join evaluations as baseline
    on
        model.experiment = baseline.experiment
        and model.benchmark = baseline.benchmark
        and model.split = baseline.split
        and model.problem_id = baseline.problem_id
where model.model_id != baseline.model_id
group by model.experiment, model.model_id, baseline.model_id, model.benchmark, model.split
