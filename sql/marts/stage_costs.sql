-- Grain: one row per stage that ran: wall seconds and tokens (generated, or trained on).
select
    experiment,
    round,
    stage,
    seconds,
    token_count,
    token_count / nullif(seconds, 0) as tokens_per_second,
    started_at,
    finished_at
from stages
