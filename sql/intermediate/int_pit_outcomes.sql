-- Grain: one row per explored rationale whose true first wrong step is known: was its first pit exactly there?
-- Where no step that may be explored is wrong (the answer line is), no pit is right. Rationales without a
-- rollout, and imported ones whose exploration ends before a pit and before the last step, are left out.
with truths as (
    select
        experiment,
        round,
        rationale_id,
        first_pit_step,
        true_wrong_step,
        step_count,
        case when true_wrong_step > step_count then null else true_wrong_step end as wrong_step,
        list_sum(draw_counts) as rollout_count
    from first_pits
    where
        true_wrong_step is not null
        and len(draw_counts) > 0
        and (first_pit_step is not null or len(draw_counts) = step_count)
),

final as (
    select
        experiment,
        round,
        rationale_id,
        first_pit_step,
        true_wrong_step,
        wrong_step,
        step_count,
        coalesce(rollout_count, 0)::integer as rollout_count,
        case
            when coalesce(first_pit_step, 0) = coalesce(wrong_step, 0) then 'exact'
            when first_pit_step is null or first_pit_step > wrong_step then 'late'
            else 'early'
        end as outcome
    from truths
)

select * from final
