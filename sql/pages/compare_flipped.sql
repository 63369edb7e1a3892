-- Grain: one row per problem of a page of those that exactly one of two models solves; `total` counts all of them.
with flipped as (
    select
        right_answers.problem_id,
        right_answers.benchmark,
        right_answers.split,
        left_answers.answer as left_answer,
        right_answers.answer as right_answer,
        left_answers.is_correct_strict as is_left_correct,
        right_answers.is_correct_strict as is_right_correct
    from left_answers
    inner join right_answers
        on
            left_answers.benchmark = right_answers.benchmark
            and left_answers.split = right_answers.split
            and left_answers.problem_id = right_answers.problem_id
    where
        left_answers.model_id = getvariable('left_model')
        and right_answers.model_id = getvariable('right_model')
        and left_answers.is_correct_strict <> right_answers.is_correct_strict
        and (getvariable('benchmark')::varchar is null or right_answers.benchmark = getvariable('benchmark'))
        and (getvariable('split')::varchar is null or right_answers.split = getvariable('split'))
),

counted as (
    select count(*) as total from flipped
),

shown as (
    select
        flipped.*,
        coalesce(problems.question, '') as question,
        coalesce(problems.gold_answer, '') as gold_answer
    from flipped
    left join problems on flipped.problem_id = problems.problem_id and flipped.split = problems.split
    order by flipped.benchmark, flipped.split, flipped.problem_id
    limit getvariable('row_limit') offset getvariable('row_offset')
)

select
    counted.total,
    shown.*
from counted
left join shown on true
order by shown.benchmark, shown.split, shown.problem_id
