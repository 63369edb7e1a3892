-- Grain: one row per rationale of a training problem that came to its end with an answer: the gold one by the strict
-- verdict (is_correct), or another. Unfinished and answerless rationales are neither (method, right and wrong).
select
    rationales.experiment,
    rationales.round,
    rationales.model_id,
    rationales.problem_id,
    rationales.rationale_id,
    rationales.sample_index,
    rationales.text,
    coalesce(rationales.is_correct_strict, false) as is_correct
from rationales
inner join stg_problems
    on
        rationales.experiment = stg_problems.experiment
        and rationales.problem_id = stg_problems.problem_id
where
    (rationales.is_correct_strict or rationales.verdict = 'wrong')
    and rationales.finish_reason = 'stop'
    and stg_problems.split = 'train'
