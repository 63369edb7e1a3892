-- Grain: one row per wrong rationale to explore: the rejected one of each kept outcome pair.
select
    pairs.experiment,
    pairs.round,
    pairs.rejected_rationale_id as rationale_id,
    pairs.problem_id,
    pairs.chosen_rationale_id,
    stg_problems.question,
    stg_problems.gold_answer,
    pairs.chosen as outcome_chosen,
    pairs.rejected as text
from pairs
inner join stg_problems
    on
        pairs.experiment = stg_problems.experiment
        and pairs.problem_id = stg_problems.problem_id
where pairs.kind = 'outcome' and pairs.is_kept
