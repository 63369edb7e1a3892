-- Grain: one row per explored wrong rationale: its pit, the text to reject, and every text that may be chosen.
-- Options are correct and finished rollouts drawn after the step before the pit, in the order of pairs.chosen (shortest
-- first, longest first, or seeded), then of drawing; for a pit at step 1 the outcome pair's correct rationale.
-- An option that starts with the pit step is none: after the step it ends, or goes on with a space or with one sign
-- that no digit follows (`= 2` begins `= 2.` and `= 2 shells`, but not `= 20` or `= 2.5`).
-- The rejected text keeps its line end: with it, its tokens are the ones the model drew.
with pits as (
    select
        first_pits.experiment,
        first_pits.round,
        first_pits.rationale_id,
        first_pits.problem_id,
        first_pits.question,
        first_pits.first_pit_step as pit_step,
        coalesce(before.prefix, '') as prefix,
        substr(pit.prefix, length(coalesce(before.prefix, '')) + 1) as pit_text,
        substr(first_pits.text, length(coalesce(before.prefix, '')) + 1) as remainder
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

correct_texts as (
    select
        rollouts.experiment,
        rollouts.round,
        rollouts.rationale_id,
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
    where rollouts.is_correct and rollouts.finish_reason = 'stop'
    union all
    select
        inputs.experiment,
        inputs.round,
        inputs.rationale_id,
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
    where pits.pit_step = 1
),

compared as (
    select
        correct_texts.*,
        trim(correct_texts.text, e' \n\r\t') as start,
        trim(pits.pit_text, e' \n\r\t') as pit_text,
        experiments.recipe ->> '$.pairs.chosen' as chosen,
        length(correct_texts.text) as text_length,
        md5(
            concat_ws('/', experiments.recipe ->> '$.seed', correct_texts.rationale_id, correct_texts.rollout_index)
        ) as random_key
    from correct_texts
    inner join experiments on correct_texts.experiment = experiments.experiment
    inner join pits
        on
            correct_texts.experiment = pits.experiment
            and correct_texts.round = pits.round
            and correct_texts.rationale_id = pits.rationale_id
),

options as (
    select
        experiment,
        round,
        rationale_id,
        list(
            struct_pack(text := text, rollout_id := rollout_id, rationale_id := chosen_rationale_id)
            order by
                case when chosen = 'random' then random_key end,
                case when chosen = 'longest' then -text_length else text_length end,
                rollout_index
        ) as options
    from compared
    where
        not starts_with(start, pit_text)
        or not regexp_matches(substr(start, length(pit_text) + 1), '^($|\s|[^\pL\pN]($|\D))')
    group by experiment, round, rationale_id
),

final as (
    select
        pits.experiment,
        pits.round,
        pits.rationale_id,
        pits.problem_id,
        pits.question,
        pits.pit_step,
        pits.prefix,
        case
            when experiments.recipe ->> '$.pairs.rejected' = 'remainder' then pits.remainder
            else pits.pit_text
        end as rejected,
        options.options
    from pits
    inner join experiments on pits.experiment = experiments.experiment
    left join options
        on
            pits.experiment = options.experiment
            and pits.round = options.round
            and pits.rationale_id = options.rationale_id
)

select * from final
