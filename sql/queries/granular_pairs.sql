-- What exactly does DPO learn from?
-- Some pairs, with the question they belong to.
select
    pairs.experiment,
    pairs.round,
    pairs.pit_step,
    stg_problems.question,
    pairs.prefix,
    pairs.rejected,
    pairs.chosen
from pairs
inner join stg_problems
    on
        pairs.experiment = stg_problems.experiment
        and pairs.problem_id = stg_problems.problem_id
where pairs.kind = 'granular' and pairs.is_kept
order by pairs.experiment, pairs.round, pairs.pair_id
limit 10
