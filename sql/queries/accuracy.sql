-- How good is each model, and which ones were promoted?
select
    experiment,
    round,
    model,
    split,
    round(100 * accuracy, 1) as accuracy,
    round(100 * accuracy_low, 1) as low,
    round(100 * accuracy_high, 1) as high,
    problem_count,
    promoted
from accuracy_by_round
order by experiment asc, split asc, round asc, model desc
