-- Grain: one row per round and step (null: no pit): how many explored rationales fail first there.
select
    round,
    first_pit_step as step,
    count(*) as count
from first_pits
group by round, first_pit_step
order by round asc, first_pit_step asc nulls last
