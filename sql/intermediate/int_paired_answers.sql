-- Grain: one row per ordered pair of models of an experiment, benchmark, split and problem that both answered:
-- 1 where only the model solves it, -1 where only the baseline does, else 0.
select
    model.experiment,
    model.model_id,
    baseline.model_id as baseline_id,
    model.benchmark,
    model.split,
    model.problem_id,
    model.is_correct_strict::integer - baseline.is_correct_strict::integer as difference
from evaluations as model
inner join evaluations as baseline
    on
        model.experiment = baseline.experiment
        and model.benchmark = baseline.benchmark
        and model.split = baseline.split
        and model.problem_id = baseline.problem_id
where model.model_id != baseline.model_id
