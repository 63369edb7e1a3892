-- Chosen ends in the gold answer, rejected in another one, both for the pair's own problem.
select
    pairs.pair_id,
    chosen.verdict as chosen_verdict,
    rejected.verdict as rejected_verdict
from pairs
left join rationales as chosen
    on
        pairs.experiment = chosen.experiment
        and pairs.round = chosen.round
        and pairs.chosen_rationale_id = chosen.rationale_id
left join rationales as rejected
    on
        pairs.experiment = rejected.experiment
        and pairs.round = rejected.round
        and pairs.rejected_rationale_id = rejected.rationale_id
where
    pairs.experiment = getvariable('experiment')
    and pairs.round = getvariable('round')
    and pairs.kind = 'outcome'
    and pairs.is_kept
    and (
        chosen.rationale_id is null
        or rejected.rationale_id is null
        or not chosen.is_correct_strict
        or rejected.verdict != 'wrong'
        or chosen.problem_id != pairs.problem_id
        or rejected.problem_id != pairs.problem_id
    )
