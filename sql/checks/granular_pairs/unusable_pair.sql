-- A kept pair has a pit and two texts, and its chosen text is one that may be chosen: it does not begin with the pit
-- step (the rule is in int_granular_candidates).
with options as (
    select
        rationale_id,
        unnest(options) as option
    from int_granular_candidates
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
),

texts as (
    select distinct
        rationale_id,
        struct_extract(option, 'text') as text
    from options
)

select
    pairs.pair_id,
    pairs.pit_step,
    pairs.chosen,
    pairs.rejected
from pairs
left join texts
    on
        pairs.rejected_rationale_id = texts.rationale_id
        and pairs.chosen = texts.text
where
    pairs.experiment = getvariable('experiment')
    and pairs.round = getvariable('round')
    and pairs.kind = 'granular'
    and pairs.is_kept
    and (
        pairs.pit_step is null
        or coalesce(trim(pairs.rejected, e' \n\r\t'), '') = ''
        or coalesce(trim(pairs.chosen, e' \n\r\t'), '') = ''
        or texts.text is null
    )
