-- Grain: one row per graded text (rationale, rollout or evaluation) on which the second grader disagrees.
-- table_name: rationales, rollouts or evaluations
-- row_id: key of the graded text in that table; model, split and problem for an evaluation
-- model_id: the model that wrote it
-- problem_id: the problem
-- gold_answer: the right answer
-- answer: the answer extracted from the text
-- grade_reason: what decided the strict verdict
-- is_correct_strict: the first grader's verdict
-- is_correct_second: the second grader's verdict
with graded as (
    select
        experiment,
        round,
        'rationales' as table_name,
        rationale_id as row_id,
        model_id,
        problem_id,
        answer,
        grade_reason,
        is_correct_strict,
        is_correct_second
    from rationales

    union all

    select
        experiment,
        round,
        'rollouts' as table_name,
        rollout_id as row_id,
        model_id,
        problem_id,
        answer,
        grade_reason,
        is_correct as is_correct_strict,
        is_correct_second
    from rollouts

    union all

    select
        experiment,
        round,
        'evaluations' as table_name,
        model_id || '/' || split || '/' || problem_id as row_id,
        model_id,
        problem_id,
        answer,
        grade_reason,
        is_correct_strict,
        is_correct_second
    from evaluations
),

final as (
    select
        graded.experiment,
        graded.round,
        graded.table_name,
        graded.row_id,
        graded.model_id,
        graded.problem_id,
        stg_problems.gold_answer,
        graded.answer,
        graded.grade_reason,
        graded.is_correct_strict,
        graded.is_correct_second
    from graded
    left join stg_problems
        on
            graded.experiment = stg_problems.experiment
            and graded.problem_id = stg_problems.problem_id
    -- Without a second grader its verdict is null, which differs from nothing.
    where graded.is_correct_second <> graded.is_correct_strict
)

select * from final
