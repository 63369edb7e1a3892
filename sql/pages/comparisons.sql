-- Grain: one row per two models of a round, benchmark and split: their paired difference, as stage `gate` stored it.
select *
from comparisons
order by round, model_id, baseline_id, benchmark, split
