-- A wrong rationale is matched once.
select
    rejected_rationale_id,
    count(*) as uses
from pairs
where
    experiment = getvariable('experiment')
    and round = getvariable('round')
    and kind = 'outcome'
    and is_kept
group by rejected_rationale_id
having count(*) > 1
