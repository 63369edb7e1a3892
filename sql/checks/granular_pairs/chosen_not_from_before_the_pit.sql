-- Chosen is a correct rollout drawn after the step before the pit of the same rationale.
select
    pairs.pair_id,
    pairs.pit_step,
    rollouts.step_index,
    rollouts.is_correct
from pairs
left join rollouts
    on
        pairs.experiment = rollouts.experiment
        and pairs.round = rollouts.round
        and pairs.chosen_rollout_id = rollouts.rollout_id
where
    pairs.experiment = getvariable('experiment')
    and pairs.round = getvariable('round')
    and pairs.kind = 'granular'
    and pairs.is_kept
    and pairs.pit_step > 1
    and (
        rollouts.rollout_id is null
        or not rollouts.is_correct
        or rollouts.step_index != pairs.pit_step - 1
        or rollouts.rationale_id != pairs.rejected_rationale_id
        or rollouts.prefix != pairs.prefix
    )
