-- Grain: one row per round and step: the share of rollouts from behind it that still reach the gold answer, over all
-- explored rationales. With explore.adaptive and noisy_binary drawing stops at a success: too high.
with steps as (
    select
        round,
        unnest(range(1, len(draw_counts) + 1)) as step,
        unnest(pass_counts) as pass_count,
        unnest(draw_counts) as draw_count
    from first_pits
)

select
    round,
    step,
    sum(pass_count) / sum(draw_count) as pass_rate,
    count(*) as rationale_count,
    sum(draw_count)::bigint as draw_count
from steps
where draw_count > 0
group by round, step
order by round, step
