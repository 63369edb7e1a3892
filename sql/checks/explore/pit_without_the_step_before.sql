-- The step before a first pit was tried and passed, or the pit is step 1; where there is no pit, the last step was
-- tried. (What was drawn elsewhere may end early.)
with steps as (
    select
        rationale_id,
        any_value(step_count) as step_count,
        list(step_index order by step_index) as explored_steps,
        min(step_index) filter (where is_failed) as first_pit_step,
        bool_or(is_imported) as is_imported
    from int_explored_steps
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
    group by rationale_id
)

select * from steps
where
    (first_pit_step > 1 and not list_contains(explored_steps, first_pit_step - 1))
    or (first_pit_step is null and not is_imported and not list_contains(explored_steps, step_count))
