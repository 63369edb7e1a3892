-- Grain: one row per experiment and problem. Problems are stored in round 0 and hold for every round.
select
    experiment,
    problem_id,
    source,
    split,
    question,
    gold_answer,
    gold_rationale,
    gold_rationale is null as is_answers_only
from problems
