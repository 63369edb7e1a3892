-- Every explored step has the rollouts that the recipe's options ask for. explore.k; with confirm twice as many where
-- none of the first k is correct; with adaptive 1, 2, 4, ... and k, up to so many, until one is correct, unless the
-- pit is the next step. Rollouts drawn elsewhere may be of any number, none of them twice.
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
        if(cast(recipe ->> '$.explore.confirm' as boolean), 2, 1)
        * cast(recipe ->> '$.explore.k' as integer) as most,
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
            when not list_contains(steps.outcomes[1:settings.most], true) then settings.most
            when settings.is_adaptive and not steps.is_before_pit
                then least(
                    if(list_contains(steps.outcomes[1:settings.k], true), settings.k, settings.most),
                    cast(pow(2, ceil(log2(list_position(steps.outcomes, true)))) as integer)
                )
            when list_contains(steps.outcomes[1:settings.k], true) then settings.k
            else settings.most
        end as expected_draws
    from steps
    cross join settings
)

select * from final
where rollout_indices != range(0, expected_draws)
