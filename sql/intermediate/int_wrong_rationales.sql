-- Grain: one row per rationale of a training problem that ends in another answer than the gold one.
-- Unfinished and answerless rationales are no good negatives and are left out (method, step 6).
select
    rationales.experiment,
    rationales.round,
    rationales.model_id,
    rationales.problem_id,
    rationales.rationale_id,
    rationales.sample_index,
    rationales.text
from rationales
inner join stg_problems
    on
        rationales.experiment = stg_problems.experiment
        and rationales.problem_id = stg_problems.problem_id
where
    rationales.verdict = 'wrong'
    and rationales.finish_reason = 'stop'
    and stg_problems.split = 'train'
