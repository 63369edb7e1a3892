-- Grain: one row per model, benchmark and split, in the order they were made; the numbers of `selfexplore scores`.
select
    round,
    model,
    model_id,
    benchmark,
    split,
    accuracy,
    accuracy_low as low,
    accuracy_high as high,
    problem_count,
    promoted
from scores
order by round asc, model desc, benchmark asc, split asc
