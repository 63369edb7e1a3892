-- Per problem no chosen and no rejected text stands in two kept pairs. With pairs.per_rationale = all, the pairs of one
-- wrong rationale share what they reject.
with texts as (
    select
        problem_id,
        rejected_rationale_id,
        'chosen' as side,
        trim(chosen, e' \n\r\t') as text
    from pairs
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
        and kind = 'granular'
        and is_kept
    union all
    select
        problem_id,
        rejected_rationale_id,
        'rejected' as side,
        trim(rejected, e' \n\r\t') as text
    from pairs
    where
        experiment = getvariable('experiment')
        and round = getvariable('round')
        and kind = 'granular'
        and is_kept
),

final as (
    select
        texts.problem_id,
        texts.side,
        texts.text,
        count(*) as uses,
        count(distinct texts.rejected_rationale_id) as rationale_count,
        any_value(experiments.recipe ->> '$.pairs.per_rationale') as per_rationale
    from texts
    inner join experiments on experiments.experiment = getvariable('experiment')
    group by texts.problem_id, texts.side, texts.text
)

select * from final
where if(side = 'rejected' and per_rationale = 'all', rationale_count, uses) > 1
