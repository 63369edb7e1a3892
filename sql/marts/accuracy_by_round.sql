-- Grain: one row per model, benchmark and split, with the gain over the same benchmark's first model.
select
    experiment,
    round,
    model,
    model_id,
    benchmark,
    split,
    accuracy,
    accuracy_low,
    accuracy_high,
    problem_count,
    promoted,
    accuracy - first_value(accuracy) over (
        partition by experiment, benchmark, split
        order by round asc, model desc
    ) as gain_over_first
from scores
