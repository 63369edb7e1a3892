-- Grain: one row per granular pair that DPO trains on.
select
    pairs.experiment,
    pairs.round,
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
where pairs.kind = 'granular' and pairs.is_kept
