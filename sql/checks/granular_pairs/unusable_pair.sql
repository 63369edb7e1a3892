-- A kept pair has a pit, both texts, and a chosen text that does not begin with the rejected step.
select
    pair_id,
    pit_step,
    chosen,
    rejected
from pairs
where
    experiment = getvariable('experiment')
    and round = getvariable('round')
    and kind = 'granular'
    and is_kept
    and (
        pit_step is null
        or coalesce(trim(rejected, e' \n\r\t'), '') = ''
        or coalesce(trim(chosen, e' \n\r\t'), '') = ''
        or starts_with(trim(chosen, e' \n\r\t'), trim(rejected, e' \n\r\t'))
    )
