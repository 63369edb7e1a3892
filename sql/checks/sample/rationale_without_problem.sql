-- Only training problems are sampled: dev and test must never become training data.
select
    rationales.rationale_id,
    problems.split
from rationales
left join problems
    on
        rationales.experiment = problems.experiment
        and rationales.problem_id = problems.problem_id
where
    rationales.experiment = getvariable('experiment')
    and rationales.round = getvariable('round')
    and (problems.split is null or problems.split != 'train')
