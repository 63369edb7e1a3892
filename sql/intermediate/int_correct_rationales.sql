-- Grain: one row per rationale of a training problem that ends in the gold answer (strict verdict) and came to its end.
select * exclude (is_correct)
from int_answered_rationales
where is_correct
