-- Grain: one row per round and thing counted (problems, rationales, pits, pairs kept and dropped by reason).
select
    experiment,
    round,
    name,
    count
from int_round_counts
