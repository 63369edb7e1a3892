-- Grain: one row per stage that ran: wall seconds and tokens (generated, or trained on).
-- stage: name of the stage
-- seconds: wall seconds
-- token_count: tokens generated, or trained on
-- tokens_per_second: tokens by wall second
-- started_at: ISO time
-- finished_at: ISO time
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
