-- In steps with which operation do wrong rationales first go wrong?
with pits as (
    select
        first_pits.experiment,
        first_pits.round,
        regexp_extract(
            substr(pit.prefix, length(coalesce(before.prefix, '')) + 1), '\d\s*([-+*/×÷])\s*\(?-?\d', 1
        ) as operation
    from first_pits
    inner join int_explored_steps as pit
        on
            first_pits.experiment = pit.experiment
            and first_pits.round = pit.round
            and first_pits.rationale_id = pit.rationale_id
            and first_pits.first_pit_step = pit.step_index
    left join int_explored_steps as before
        on
            first_pits.experiment = before.experiment
            and first_pits.round = before.round
            and first_pits.rationale_id = before.rationale_id
            and first_pits.first_pit_step - 1 = before.step_index
)

select
    experiment,
    round,
    coalesce(nullif(operation, ''), 'none') as operation,
    count(*) as pit_count
from pits
group by experiment, round, operation
order by experiment asc, round asc, pit_count desc
