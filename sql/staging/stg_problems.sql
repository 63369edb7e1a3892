-- Grain: one row per experiment and problem. Problems are stored in round 0 and hold for every round.
-- problem_id: key: source and a hash of the question
-- source: where the problem came from
-- split: train, dev or test
-- question: the question
-- gold_answer: the right answer
-- gold_rationale: gold solution; null where only the answer may be used
-- is_answers_only: the problem has no gold solution to train on
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
