-- How near was the estimate of each stage?
-- Seconds and tokens as estimated before the round (null: run by hand), and as it took.
with stages_of_rounds as (
    select
        experiment,
        round,
        seconds,
        tokens,
        estimated_seconds,
        estimated_tokens,
        unnest(map_keys(seconds)) as stage
    from rounds
),

final as (
    select
        experiment,
        round,
        stage,
        round(estimated_seconds[stage], 1) as estimated_seconds,
        round(seconds[stage], 1) as seconds,
        round(estimated_seconds[stage] / nullif(seconds[stage], 0), 2) as time_ratio,
        estimated_tokens[stage] as estimated_tokens,
        tokens[stage] as tokens,
        round(estimated_tokens[stage] / nullif(tokens[stage], 0), 2) as token_ratio
    from stages_of_rounds
)

select * from final
order by experiment asc, round asc, seconds desc
