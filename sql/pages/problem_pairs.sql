-- Grain: one row per pair of a problem that has both texts or was kept back for a reason, granular ones first.
select
    pair_id,
    round,
    kind,
    pit_step,
    prefix,
    chosen,
    rejected,
    is_kept,
    drop_reason
from pairs
where problem_id = getvariable('problem_id')
order by round desc, kind asc, is_kept desc, pair_id asc
limit getvariable('row_limit')
