-- Grain: one row per rationale of a problem, at most `row_limit` of a round, explored ones first: those behind whose
-- steps rollouts were drawn. `total` counts all, `round_count` and `round_correct` those of the round.
with pits as (
    select
        round,
        rationale_id,
        first_pit_step,
        true_wrong_step,
        pass_counts,
        draw_counts
    from first_pits
    where problem_id = getvariable('problem_id')
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
        pits.first_pit_step,
        pits.true_wrong_step,
        pits.pass_counts,
        pits.draw_counts,
        coalesce(len(pits.draw_counts), 0) > 0 as is_explored,
        count(*) over () as total,
        count(*) over (partition by rationales.round) as round_count,
        count_if(rationales.is_correct_strict) over (partition by rationales.round) as round_correct
    from rationales
    left join pits
        on
            rationales.round = pits.round
            and rationales.rationale_id = pits.rationale_id
    where rationales.problem_id = getvariable('problem_id')
),

final as (
    select
        *,
        row_number() over (
            partition by round
            order by is_explored desc, model_id desc, sample_index asc
        ) as place
    from drawn
)

select * from final
where place <= getvariable('row_limit')
order by round desc, place asc
