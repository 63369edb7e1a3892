-- Every explored step has the rollouts that the recipe's options ask for: explore.k; with confirm twice as many where
-- none of the first k is correct; with adaptive one alone where that is correct, unless the pit is the next step.
-- Rollouts drawn elsewhere may be of any number, none of them twice.
with steps as (
    select
        rationale_id,
        step_index,
        list(rollout_index order by rollout_index) as rollout_indices,
        list(is_correct order by rollout_index) as outcomes,
        bool_or(model_id like '%/imported') as is_imported,
        step_index + 1 = coalesce(
            min(if(bool_or(is_correct), null, step_index)) over (partition by rationale_id), 0
        ) as is_before_pit
    from rollouts
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
    group by rationale_id, step_index
),

settings as (
    select
        cast(recipe ->> '$.explore.k' as integer) as k,
        cast(recipe ->> '$.explore.confirm' as boolean) as is_confirming,
        cast(recipe ->> '$.explore.adaptive' as boolean) as is_adaptive
    from experiments
    where experiment = getvariable('experiment')
),

final as (
    select
        steps.rationale_id,
        steps.step_index,
        steps.rollout_indices,
        case
            when steps.is_imported then len(steps.rollout_indices)
            when not list_contains(steps.outcomes[1:settings.k], true)
                then if(settings.is_confirming, 2 * settings.k, settings.k)
            when settings.is_adaptive and steps.outcomes[1] and not steps.is_before_pit then 1
            else settings.k
        end as expected_draws
    from steps
    cross join settings
)

select * from final
where rollout_indices != range(0, expected_draws)
