-- How much of each round's wall time is not its stages' work: loading libraries and models, and waiting in between?
with by_stage as (
    select
        experiment,
        round,
        stage,
        seconds,
        coalesce((notes ->> '$.loading.process')::double, 0) as process_seconds,
        coalesce(
            list_sum(
                list_transform(
                    json_keys(notes -> '$.loading'),
                    lambda kind: (notes ->> ('$.loading.' || kind))::double
                )
            ),
            0
        ) as loading_seconds,
        started_at::timestamptz as started_at,
        finished_at::timestamptz as finished_at
    from stages
    where stage <> 'benchmarks'
),

by_round as (
    select
        experiment,
        round,
        epoch(max(finished_at) - min(started_at - to_seconds(process_seconds))) as wall_seconds,
        -- The process starts before the stage does: it is no part of the stage's seconds.
        sum(seconds - loading_seconds + process_seconds) as compute_seconds,
        sum(loading_seconds) as loading_seconds
    from by_stage
    group by experiment, round
)

select
    experiment,
    round,
    round(wall_seconds, 1) as wall_seconds,
    round(compute_seconds, 1) as compute_seconds,
    round(loading_seconds, 1) as loading_seconds,
    round(wall_seconds - compute_seconds - loading_seconds, 1) as between_seconds,
    round(wall_seconds / compute_seconds, 3) as wall_by_compute
from by_round
order by experiment, round
