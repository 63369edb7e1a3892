-- What went into the RFT set, and what was dropped why?
select
    experiment,
    round,
    origin,
    coalesce(drop_reason, 'kept') as outcome,
    count(*) as example_count,
    count(distinct problem_id) as problem_count
from rft_examples
group by experiment, round, origin, drop_reason
order by experiment asc, round asc, origin asc, example_count desc
