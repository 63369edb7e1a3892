-- Where the truth is computable (arithmetic): are first pits at the first wrong step, before it or behind it?
select
    experiment,
    round,
    if(is_total, 'all', coalesce(wrong_step::varchar, 'none')) as first_wrong_step,
    rationale_count,
    round(100 * exact, 1) as exact,
    round(100 * early, 1) as early,
    round(100 * late, 1) as late,
    round(rollouts_per_rationale, 1) as rollouts_per_rationale,
    k,
    round(100 * explorer_accuracy, 1) as explorer_accuracy,
    token_count
from pit_accuracy
order by experiment asc, round asc, is_total asc, wrong_step asc nulls last
