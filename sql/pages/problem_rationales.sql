-- Grain: one row per rationale of a problem, at most `row_limit` of a round, explored ones first; `total` counts all.
with explored as (
    select distinct
        round,
        rejected_rationale_id as rationale_id
    from pairs
    where problem_id = getvariable('problem_id') and kind = 'outcome' and is_kept
),

drawn as (
    select
        rationales.rationale_id,
        rationales.round,
        rationales.model_id,
        rationales.verdict,
        rationales.answer,
        rationales.token_count,
        rationales.logprob_mean,
        rationales.sample_index,
        rationales.text,
        explored.rationale_id is not null as is_explored,
        count(*) over () as total
    from rationales
    left join explored
        on
            rationales.round = explored.round
            and rationales.rationale_id = explored.rationale_id
    where rationales.problem_id = getvariable('problem_id')
),

ranked as (
    select
        *,
        row_number() over (
            partition by round
            order by is_explored desc, model_id desc, sample_index asc
        ) as place
    from drawn
),

final as (
    select
        ranked.*,
        first_pits.first_pit_step,
        first_pits.true_wrong_step
    from ranked
    left join first_pits
        on
            ranked.round = first_pits.round
            and ranked.rationale_id = first_pits.rationale_id
            and first_pits.problem_id = getvariable('problem_id')
    where ranked.place <= getvariable('row_limit')
)

select * from final
order by round desc, place asc
