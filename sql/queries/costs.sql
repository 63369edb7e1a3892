-- Where did the time go, and how fast was each stage?
select
    experiment,
    round,
    stage,
    round(seconds, 1) as seconds,
    token_count,
    round(tokens_per_second) as tokens_per_second
from stage_costs
order by experiment, started_at
