-- Grain: one row per wrong rationale and explored step, with how many rollouts reached the gold answer.
-- `is_imported`: drawn elsewhere, where the recipe's k and its other options of exploring did not hold.
-- `is_failed`: no rollout did, and the step may be the pit: where one from behind a later step did, search
-- `noisy_binary` left this step undecided. (Of what was drawn elsewhere every step without one has failed.)
with steps as (
    select
        experiment,
        round,
        rationale_id,
        problem_id,
        step_index,
        any_value(step_count) as step_count,
        any_value(prefix) as prefix,
        count_if(is_correct) as pass_count,
        count(*) as draw_count,
        bool_or(is_correct and rollout_index = 0) as is_first_correct,
        bool_or(model_id like '%/imported') as is_imported
    from rollouts
    group by experiment, round, rationale_id, problem_id, step_index
),

final as (
    select
        *,
        pass_count = 0
        and (
            is_imported
            or step_index > coalesce(
                max(step_index) filter (where pass_count > 0) over (partition by experiment, round, rationale_id), 0
            )
        ) as is_failed
    from steps
)

select * from final
