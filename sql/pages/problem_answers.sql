-- Grain: one row per model that answered the problem greedily.
select
    round,
    model_id,
    benchmark,
    split,
    text,
    answer,
    is_correct_strict,
    is_correct_flexible
from evaluations
where problem_id = getvariable('problem_id')
order by round asc, model_id desc, split asc
