-- Grain: one row per round and pit step (null = no pit found): how many wrong rationales fail first there.
-- first_pit_step: 1-based step of the first pit; null where none was found
-- rationale_count: explored wrong rationales whose first pit is there
select
    experiment,
    round,
    first_pit_step,
    count(*) as rationale_count
from first_pits
group by experiment, round, first_pit_step
