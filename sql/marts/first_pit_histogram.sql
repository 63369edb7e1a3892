-- Grain: one row per round and pit step (null = no pit found): how many wrong rationales fail first there.
select
    experiment,
    round,
    first_pit_step,
    count(*) as rationale_count
from first_pits
group by experiment, round, first_pit_step
