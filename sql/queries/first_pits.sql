-- At which step do wrong rationales first go wrong?
select
    experiment,
    round,
    first_pit_step,
    rationale_count,
    bar(rationale_count, 0, max(rationale_count) over (partition by experiment, round), 40) as share
from first_pit_histogram
order by experiment, round, first_pit_step nulls last
