-- Why did wrong rationales not become training pairs?
select
    round,
    kind,
    coalesce(drop_reason, 'kept') as outcome,
    count(*) as pair_count
from pairs
group by round, kind, drop_reason
order by round asc, kind asc, pair_count desc
