-- Which dev and test problems did a round's policy newly solve or newly lose?
-- Against the champion that the round started from.
with final as (
    select
        rounds.experiment,
        rounds.round,
        now.benchmark,
        now.split,
        case when now.is_correct_strict then 'newly solved' else 'newly lost' end as flip,
        now.problem_id,
        stg_problems.gold_answer,
        before.answer as before,
        now.answer as after,
        stg_problems.question
    from rounds
    inner join evaluations as now
        on
            rounds.experiment = now.experiment
            and rounds.candidate = now.model_id
    inner join evaluations as before
        on
            rounds.experiment = before.experiment
            and rounds.parent = before.model_id
            and now.benchmark = before.benchmark
            and now.split = before.split
            and now.problem_id = before.problem_id
    left join stg_problems
        on
            now.experiment = stg_problems.experiment
            and now.problem_id = stg_problems.problem_id
    where now.is_correct_strict <> before.is_correct_strict
)

select * from final
order by experiment, round, benchmark, split, flip, problem_id
limit 200
