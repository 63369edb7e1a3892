-- Why did wrong rationales not become training pairs?
select
    experiment,
    round,
    kind,
    coalesce(drop_reason, 'kept') as outcome,
    count(*) as pair_count
from pairs
group by experiment, round, kind, drop_reason
order by experiment asc, round asc, kind asc, pair_count desc
