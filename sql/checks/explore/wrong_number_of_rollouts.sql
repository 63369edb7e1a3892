-- Every explored step has exactly explore.k rollouts.
select
    rollouts.rationale_id,
    rollouts.step_index,
    count(distinct rollouts.rollout_index) as draws
from rollouts
inner join experiments on rollouts.experiment = experiments.experiment
where
    rollouts.experiment = getvariable('experiment')
    and rollouts.round = getvariable('round')
group by rollouts.rationale_id, rollouts.step_index, experiments.recipe
having
    count(*) != (experiments.recipe ->> '$.explore.k')::integer
    or count(distinct rollouts.rollout_index) != count(*)
