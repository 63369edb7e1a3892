-- How many sampled tokens does a solved training problem cost?
with problems_of_round as (
    select
        experiment,
        round,
        model_id,
        problem_id,
        sum(token_count) as token_count,
        bool_or(is_correct_strict) as is_solved
    from rationales
    group by experiment, round, model_id, problem_id
)

select
    experiment,
    round,
    model_id,
    count(*) as tried_count,
    count_if(is_solved) as solved_count,
    sum(token_count) as token_count,
    round(sum(token_count) / nullif(count_if(is_solved), 0)) as tokens_per_solved
from problems_of_round
group by experiment, round, model_id
order by experiment, round, model_id
