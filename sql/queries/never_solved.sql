-- Which training problems were tried and never solved?
select
    rationales.experiment,
    rationales.problem_id,
    count(*) as rationale_count,
    max(rationales.round) as last_round,
    any_value(stg_problems.gold_answer) as gold_answer,
    any_value(stg_problems.question) as question
from rationales
inner join stg_problems
    on
        rationales.experiment = stg_problems.experiment
        and rationales.problem_id = stg_problems.problem_id
group by rationales.experiment, rationales.problem_id
having not bool_or(rationales.is_correct_strict)
order by rationales.experiment asc, rationale_count desc, rationales.problem_id asc
limit 100
