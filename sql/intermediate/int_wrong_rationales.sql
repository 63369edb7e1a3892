-- Grain: one row per rationale of a training problem that ends in another answer than the gold one.
-- Unfinished and answerless rationales are no good negatives and are left out (method, step 6).
select * exclude (is_correct)
from int_answered_rationales
where not is_correct
