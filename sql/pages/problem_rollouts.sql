-- Grain: one row per rollout of the shown rationales of a problem, at most `row_limit` behind a step; the counts are
-- those of all rollouts behind the step.
with counted as (
    select
        round,
        rationale_id,
        step_index as step,
        rollout_id,
        rollout_index,
        text,
        answer,
        is_correct,
        count_if(is_correct) over step_rollouts as pass_count,
        count(*) over step_rollouts as draw_count,
        row_number() over (
            partition by round, rationale_id, step_index
            order by rollout_index, rollout_id
        ) as place
    from rollouts
    where
        problem_id = getvariable('problem_id')
        and list_contains(getvariable('rationale_ids')::varchar[], rationale_id)
    window step_rollouts as (partition by round, rationale_id, step_index)
)

select * from counted
where place <= getvariable('row_limit')
order by round, rationale_id, step, place
