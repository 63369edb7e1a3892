-- Exploration goes step by step from step 1 and stops at the first pit.
with steps as (
    select
        rationale_id,
        max(step_index) as last_step,
        count(*) as step_count,
        min(step_index) filter (where pass_count = 0) as first_pit_step
    from int_explored_steps
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
    group by rationale_id
)

select * from steps
where last_step != step_count or last_step > first_pit_step
