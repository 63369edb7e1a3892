-- Grain: one row per pair to train on: the granular ones are DPO's, the outcome ones those of the compared arm.
select
    pairs.experiment,
    pairs.round,
    pairs.kind,
    pairs.pair_id,
    stg_problems.question,
    pairs.prefix,
    pairs.chosen,
    pairs.rejected
from pairs
inner join stg_problems
    on
        pairs.experiment = stg_problems.experiment
        and pairs.problem_id = stg_problems.problem_id
where pairs.is_kept
