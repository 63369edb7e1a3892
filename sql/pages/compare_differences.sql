-- Grain: one row per benchmark and split: on the problems that both models answered, how many only the right one solves
-- (gained) and only the left one (lost).
select
    right_answers.benchmark,
    right_answers.split,
    count(*)::integer as problem_count,
    count_if(right_answers.is_correct_strict and not left_answers.is_correct_strict)::integer as gained,
    count_if(left_answers.is_correct_strict and not right_answers.is_correct_strict)::integer as lost
from left_answers
inner join right_answers
    on
        left_answers.benchmark = right_answers.benchmark
        and left_answers.split = right_answers.split
        and left_answers.problem_id = right_answers.problem_id
where left_answers.model_id = getvariable('left_model') and right_answers.model_id = getvariable('right_model')
group by right_answers.benchmark, right_answers.split
order by right_answers.benchmark, right_answers.split
