-- Grain: one row per step of a round's funnel and reason why rows of the step went no further (null: the step's count).
-- Steps whose stage is not done are left out by the caller. `pair_source` drew the rationales that become pairs.
with sampled as (
    select
        problem_id,
        model_id,
        case
            when verdict = 'wrong' and finish_reason <> 'stop' then 'unfinished'
            else verdict
        end as verdict,
        count(*) as count
    from rationales
    group by all
),

outcome as (
    select
        drop_reason,
        count(*) as count
    from pairs
    where kind = 'outcome' and rejected_rationale_id is not null
    group by drop_reason
),

granular as (
    select
        drop_reason,
        count(*) as count
    from pairs
    where kind = 'granular' and drop_reason is distinct from 'no_pit'
    group by drop_reason
),

wrong as (
    select
        coalesce(sum(count), 0) as count,
        coalesce(sum(count) filter (where model_id <> getvariable('pair_source')), 0) as of_another_model
    from sampled
    where verdict = 'wrong'
),

final as (
    select
        'problems' as step,
        null as reason,
        count(distinct problem_id) as count
    from sampled
    union all
    select
        'rationales' as step,
        null as reason,
        sum(count) as count
    from sampled
    union all
    select
        'rationales' as step,
        verdict as reason,
        sum(count) as count
    from sampled
    where verdict <> 'wrong'
    group by verdict
    union all
    select
        'wrong' as step,
        null as reason,
        count
    from wrong
    union all
    select
        'wrong' as step,
        'of_another_model' as reason,
        of_another_model as count
    from wrong
    union all
    select
        'wrong' as step,
        drop_reason as reason,
        count
    from outcome
    where drop_reason is not null
    union all
    select
        'wrong' as step,
        'not_for_pairs' as reason,
        wrong.count - wrong.of_another_model - coalesce((select sum(outcome.count) from outcome), 0) as count
    from wrong
    union all
    select
        'explored' as step,
        null as reason,
        count(*) as count
    from first_pits
    union all
    select
        'explored' as step,
        if(len(draw_counts) = 0, 'nothing_to_explore', 'no_pit') as reason,
        count(*) as count
    from first_pits
    where first_pit_step is null
    group by all
    union all
    select
        'pits' as step,
        null as reason,
        count(first_pit_step) as count
    from first_pits
    union all
    select
        'candidates' as step,
        null as reason,
        sum(count) as count
    from granular
    union all
    select
        'candidates' as step,
        drop_reason as reason,
        count
    from granular
    where drop_reason is not null
    union all
    select
        'pairs' as step,
        null as reason,
        sum(count) as count
    from granular
    where drop_reason is null
)

select
    step,
    reason,
    coalesce(count, 0)::bigint as count
from final
