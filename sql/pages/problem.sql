-- Grain: the problem.
select
    problem_id,
    source,
    split,
    question,
    gold_answer,
    gold_rationale
from problems
where problem_id = getvariable('problem_id')
