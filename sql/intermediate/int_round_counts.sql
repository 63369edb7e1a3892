-- Grain: one row per round and thing counted; the funnel from problems to training pairs.
with counted as (
    select
        experiment,
        0 as round,
        split || '_problems' as name,
        count(*) as count
    from problems
    group by experiment, split
    union all
    select
        experiment,
        round,
        'rationales' as name,
        count(*) as count
    from rationales
    group by experiment, round
    union all
    select
        experiment,
        round,
        'rationales_' || verdict as name,
        count(*) as count
    from rationales
    group by experiment, round, verdict
    union all
    select
        experiment,
        round,
        'rft_' || origin || case when is_kept then '_kept' else '_' || drop_reason end as name,
        count(*) as count
    from rft_examples
    group by experiment, round, origin, is_kept, drop_reason
    union all
    select
        experiment,
        round,
        kind || '_pairs_' || case when is_kept then 'kept' else drop_reason end as name,
        count(*) as count
    from pairs
    group by experiment, round, kind, is_kept, drop_reason
    union all
    select
        experiment,
        round,
        'rollouts' as name,
        count(*) as count
    from rollouts
    group by experiment, round
    union all
    select
        experiment,
        round,
        'wrong_explored' as name,
        count(*) as count
    from first_pits
    group by experiment, round
    union all
    select
        experiment,
        round,
        'pits_found' as name,
        count(first_pit_step) as count
    from first_pits
    group by experiment, round
)

select * from counted
