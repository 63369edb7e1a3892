-- Grain: one row per explored wrong rationale. The first pit is the first step that failed.
-- The counts are those of steps 1, 2, ... up to the last one tried; a skipped step has no pass count and 0 draws.
with tried as (
    select
        experiment,
        round,
        rationale_id,
        min(step_index) filter (where is_failed) as first_pit_step,
        any_value(step_count) as step_count,
        unnest(range(1, max(step_index) + 1)) as step_index
    from int_explored_steps
    group by experiment, round, rationale_id
),

counts as (
    select
        tried.experiment,
        tried.round,
        tried.rationale_id,
        any_value(tried.first_pit_step) as first_pit_step,
        any_value(tried.step_count) as step_count,
        list(steps.pass_count order by tried.step_index) as pass_counts,
        list(coalesce(steps.draw_count, 0) order by tried.step_index) as draw_counts,
        bool_or(steps.is_imported) as is_imported
    from tried
    left join int_explored_steps as steps
        on
            tried.experiment = steps.experiment
            and tried.round = steps.round
            and tried.rationale_id = steps.rationale_id
            and tried.step_index = steps.step_index
    group by tried.experiment, tried.round, tried.rationale_id
),

final as (
    select
        inputs.experiment,
        inputs.round,
        inputs.rationale_id,
        inputs.problem_id,
        inputs.question,
        inputs.text,
        cast(counts.first_pit_step as integer) as first_pit_step,
        cast(coalesce(counts.step_count, 0) as integer) as step_count,
        cast(coalesce(counts.pass_counts, []) as integer[]) as pass_counts,
        cast(coalesce(counts.draw_counts, []) as integer[]) as draw_counts,
        coalesce(
            counts.draw_counts[counts.first_pit_step] > cast(experiments.recipe ->> '$.explore.k' as integer)
            and not counts.is_imported,
            false
        ) as is_confirmed
    from int_exploration_inputs as inputs
    inner join experiments on inputs.experiment = experiments.experiment
    left join counts
        on
            inputs.experiment = counts.experiment
            and inputs.round = counts.round
            and inputs.rationale_id = counts.rationale_id
)

select * from final
