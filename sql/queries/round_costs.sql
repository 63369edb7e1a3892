-- What did each round cost, and all rounds up to it?
with by_round as (
    select
        experiment,
        round,
        sum(seconds) as seconds,
        sum(token_count) as token_count
    from stage_costs
    group by experiment, round
)

select
    experiment,
    round,
    round(seconds / 60, 1) as minutes,
    token_count,
    round(sum(seconds) over so_far / 60, 1) as minutes_so_far,
    sum(token_count) over so_far as tokens_so_far
from by_round
window so_far as (partition by experiment order by round)
order by experiment, round
