-- Linear search goes step by step from step 1 and stops at the first pit. (Binary search tries steps behind it; what
-- was drawn elsewhere may too.)
with steps as (
    select
        rationale_id,
        max(step_index) as last_step,
        count(*) as explored_steps,
        min(step_index) filter (where pass_count = 0) as first_pit_step
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
    experiments.recipe ->> '$.explore.search' is distinct from 'binary'
    and (steps.last_step != steps.explored_steps or steps.last_step > steps.first_pit_step)
