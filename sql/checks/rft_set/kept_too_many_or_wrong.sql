-- At most rft.max_per_problem sampled rationales of a problem are kept, and only correct ones.
select
    rft_examples.problem_id,
    count(*) as kept,
    count_if(not coalesce(rationales.is_correct_strict, false)) as not_correct
from rft_examples
left join rationales
    on
        rft_examples.experiment = rationales.experiment
        and rft_examples.rationale_id = rationales.rationale_id
inner join experiments on rft_examples.experiment = experiments.experiment
where
    rft_examples.experiment = getvariable('experiment')
    and rft_examples.round = getvariable('round')
    and rft_examples.origin = 'sampled'
    and rft_examples.is_kept
group by rft_examples.problem_id, experiments.recipe
having
    count(*) > (experiments.recipe ->> '$.rft.max_per_problem')::integer
    or count_if(not coalesce(rationales.is_correct_strict, false)) > 0
