-- Grain: one row per rollout of the shown rationales of a problem, at most `row_limit` behind a step and `row_total`
-- together; then the first ones behind every step stay.
with placed as (
    select
        round,
        rationale_id,
        step_index as step,
        rollout_id,
        text,
        answer,
        is_correct,
        row_number() over (
            partition by round, rationale_id, step_index
            order by rollout_index, rollout_id
        ) as place
    from rollouts
    where
        problem_id = getvariable('problem_id')
        and list_contains(getvariable('rationale_ids')::varchar[], rationale_id)
),

final as (
    select * from placed
    where place <= getvariable('row_limit')
    order by place, round, rationale_id, step
    limit getvariable('row_total')
)

select * from final
order by round, rationale_id, step, place
