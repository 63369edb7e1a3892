-- Grain: one row per explored wrong rationale: its pit, the step to reject, and every text that may be chosen.
-- Options are correct rollouts drawn after the step before the pit, shortest first, then in order of drawing; for a
-- pit at step 1 the outcome pair's correct rationale. An option that starts with the rejected step is none.
-- The rejected step keeps its line end: with it, its tokens are the ones the model drew.
with pits as (
    select
        first_pits.experiment,
        first_pits.round,
        first_pits.rationale_id,
        first_pits.problem_id,
        first_pits.first_pit_step as pit_step,
        coalesce(before.prefix, '') as prefix,
        substr(pit.prefix, length(coalesce(before.prefix, '')) + 1) as rejected
    from int_first_pits as first_pits
    left join int_explored_steps as pit
        on
            first_pits.experiment = pit.experiment
            and first_pits.round = pit.round
            and first_pits.rationale_id = pit.rationale_id
            and first_pits.first_pit_step = pit.step_index
    left join int_explored_steps as before
        on
            first_pits.experiment = before.experiment
            and first_pits.round = before.round
            and first_pits.rationale_id = before.rationale_id
            and first_pits.first_pit_step - 1 = before.step_index
),

rollout_options as (
    select
        pits.experiment,
        pits.round,
        pits.rationale_id,
        rollouts.text,
        rollouts.rollout_id,
        null::varchar as chosen_rationale_id,
        rollouts.rollout_index
    from pits
    inner join rollouts
        on
            pits.experiment = rollouts.experiment
            and pits.round = rollouts.round
            and pits.rationale_id = rollouts.rationale_id
            and pits.pit_step - 1 = rollouts.step_index
    where
        rollouts.is_correct
        and rollouts.finish_reason = 'stop'
        and not starts_with(trim(rollouts.text, e' \n\r\t'), trim(pits.rejected, e' \n\r\t'))
),

outcome_options as (
    select
        pits.experiment,
        pits.round,
        pits.rationale_id,
        inputs.outcome_chosen as text,
        null::varchar as rollout_id,
        inputs.chosen_rationale_id,
        0 as rollout_index
    from pits
    inner join int_exploration_inputs as inputs
        on
            pits.experiment = inputs.experiment
            and pits.round = inputs.round
            and pits.rationale_id = inputs.rationale_id
    where
        pits.pit_step = 1
        and not starts_with(trim(inputs.outcome_chosen, e' \n\r\t'), trim(pits.rejected, e' \n\r\t'))
),

all_options as (
    select * from rollout_options
    union all
    select * from outcome_options
),

options as (
    select
        experiment,
        round,
        rationale_id,
        list(
            struct_pack(text := text, rollout_id := rollout_id, rationale_id := chosen_rationale_id)
            order by length(text), rollout_index
        ) as options
    from all_options
    group by experiment, round, rationale_id
),

final as (
    select
        pits.experiment,
        pits.round,
        pits.rationale_id,
        pits.problem_id,
        stg_problems.question,
        pits.pit_step,
        pits.prefix,
        pits.rejected,
        options.options
    from pits
    inner join stg_problems
        on
            pits.experiment = stg_problems.experiment
            and pits.problem_id = stg_problems.problem_id
    left join options
        on
            pits.experiment = options.experiment
            and pits.round = options.round
            and pits.rationale_id = options.rationale_id
)

select * from final
