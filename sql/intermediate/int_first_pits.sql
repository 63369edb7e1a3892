-- Grain: one row per explored wrong rationale. The first pit is the first step no rollout recovers from.
with passes as (
    select
        experiment,
        round,
        rationale_id,
        min(step_index) filter (where pass_count = 0) as first_pit_step,
        any_value(step_count) as step_count,
        list(pass_count order by step_index) as pass_counts,
        list(draw_count order by step_index) as draw_counts
    from int_explored_steps
    group by experiment, round, rationale_id
),

final as (
    select
        inputs.experiment,
        inputs.round,
        inputs.rationale_id,
        inputs.problem_id,
        cast(passes.first_pit_step as integer) as first_pit_step,
        cast(coalesce(passes.step_count, 0) as integer) as step_count,
        cast(coalesce(passes.pass_counts, []) as integer[]) as pass_counts,
        cast(coalesce(passes.draw_counts, []) as integer[]) as draw_counts,
        false as is_confirmed
    from int_exploration_inputs as inputs
    left join passes
        on
            inputs.experiment = passes.experiment
            and inputs.round = passes.round
            and inputs.rationale_id = passes.rationale_id
)

select * from final
