-- Every problem has a question and a gold answer.
select
    problem_id,
    question,
    gold_answer
from problems
where
    experiment = getvariable('experiment')
    and getvariable('round') = 0
    and (trim(question) = '' or coalesce(trim(gold_answer), '') = '')
