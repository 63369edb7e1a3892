-- Grain: one row per problem of the experiment, as seen in one round; `rationales` and `earlier_rationales` are those
-- of the round and of the one before. A training problem is solved if any rationale of the round is correct, a dev or
-- test problem if the round's candidate answers it; before, if its parent does, the champion that the round started
-- from. Null where it was not tried.
with drawn as (
    select
        problem_id,
        count(*) as rationale_count,
        count_if(is_correct_strict) as correct_count
    from rationales
    group by problem_id
),

drawn_before as (
    select
        problem_id,
        bool_or(is_correct_strict) as was_solved
    from earlier_rationales
    group by problem_id
),

answered as (
    select
        problem_id,
        split,
        bool_or(is_correct_strict) filter (where model_id = getvariable('candidate')) as is_solved,
        bool_or(is_correct_strict) filter (where model_id = getvariable('parent')) as was_solved
    from evaluations
    where model_id in (getvariable('candidate'), getvariable('parent'))
    group by problem_id, split
),

pits as (
    select
        problem_id,
        list(distinct first_pit_step order by first_pit_step) as pit_steps
    from first_pits
    where first_pit_step is not null
    group by problem_id
),

final as (
    select
        problems.problem_id,
        problems.source,
        problems.split,
        problems.question,
        problems.gold_answer,
        coalesce(drawn.correct_count > 0, answered.is_solved) as is_solved,
        coalesce(drawn_before.was_solved, answered.was_solved) as was_solved,
        coalesce(drawn.rationale_count, 0) as rationale_count,
        coalesce(drawn.correct_count, 0) as correct_count,
        coalesce(pits.pit_steps, []) as pit_steps
    from problems
    left join drawn on problems.problem_id = drawn.problem_id
    left join drawn_before on problems.problem_id = drawn_before.problem_id
    left join pits on problems.problem_id = pits.problem_id
    left join answered
        on
            problems.problem_id = answered.problem_id
            and problems.split = answered.split
)

select * from final
order by problem_id
