-- Grain: one row per round and thing counted (problems, rationales, pits, pairs kept and dropped by reason).
-- name: what is counted, e.g. rationales_wrong, pits_found, granular_pairs_kept
-- count: how many
select
    experiment,
    round,
    name,
    count
from int_round_counts
