-- Linear search goes step by step from step 1 and stops at the first pit. (The binary ones try steps behind it; what
-- was drawn elsewhere may too.)
with steps as (
    select
        rationale_id,
        max(step_index) as last_step,
        count(*) as explored_steps,
        min(step_index) filter (where is_failed) as first_pit_step
    from int_explored_steps
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
        and not is_imported
    group by rationale_id
)

select steps.*
from steps
inner join experiments on experiments.experiment = getvariable('experiment')
where
    coalesce(experiments.recipe ->> '$.explore.search', 'linear') = 'linear'
    and (steps.last_step != steps.explored_steps or steps.last_step > steps.first_pit_step)
