-- Every explored step has the rollouts that the recipe's options ask for. explore.k; with confirm twice as many where
-- none of the first k is correct; with adaptive 1, 2, 4, ... and k, up to so many, until one is correct; by
-- noisy_binary as many as it takes until one is correct, and fewer where that is left undecided. With top_up the step
-- before the pit has all of them. Rollouts drawn elsewhere may be of any number, none of them twice.
with pits as (
    select
        rationale_id,
        min(step_index) filter (where is_failed) as pit_step
    from int_explored_steps
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
    group by rationale_id
),

steps as (
    select
        rollouts.rationale_id,
        rollouts.step_index,
        list(rollouts.rollout_index order by rollouts.rollout_index) as rollout_indices,
        list(rollouts.is_correct order by rollouts.rollout_index) as outcomes,
        bool_or(rollouts.model_id like '%/imported') as is_imported,
        coalesce(rollouts.step_index = any_value(pits.pit_step), false) as is_pit,
        coalesce(rollouts.step_index + 1 = any_value(pits.pit_step), false) as is_before_pit
    from rollouts
    inner join pits on rollouts.rationale_id = pits.rationale_id
    where
        rollouts.experiment = getvariable('experiment')
        and rollouts.round = getvariable('round')
    group by rollouts.rationale_id, rollouts.step_index
),

settings as (
    select
        cast(recipe ->> '$.explore.k' as integer) as k,
        if(cast(recipe ->> '$.explore.confirm' as boolean), 2, 1)
        * cast(recipe ->> '$.explore.k' as integer) as most,
        cast(recipe ->> '$.explore.adaptive' as boolean) as is_adaptive,
        recipe ->> '$.explore.search' = 'noisy_binary' as is_noisy,
        coalesce(cast(recipe ->> '$.explore.top_up' as boolean), true) as is_topped_up
    from experiments
    where experiment = getvariable('experiment')
),

-- `batch`: the k that decide, or those that confirm too; `first_correct`: the first correct one, 1-based, null if none.
tried as (
    select
        steps.*,
        settings.*,
        list_position(steps.outcomes[1:settings.most], true) as first_correct,
        if(list_contains(steps.outcomes[1:settings.k], true), settings.k, settings.most) as batch
    from steps
    cross join settings
),

final as (
    select
        rationale_id,
        step_index,
        rollout_indices,
        case
            when is_imported then len(rollout_indices)
            when first_correct is null and is_noisy and not is_pit then least(len(rollout_indices), most)
            when first_correct is null or (is_before_pit and is_topped_up) then batch
            when is_noisy then first_correct
            when is_adaptive then least(batch, cast(pow(2, ceil(log2(first_correct))) as integer))
            else batch
        end as expected_draws
    from tried
)

select * from final
where rollout_indices != range(0, expected_draws)
