-- Which training problems are the hardest of those that were solved at all?
select
    rationales.experiment,
    rationales.problem_id,
    count(*) as rationale_count,
    round(100 * avg(rationales.is_correct_strict::integer), 1) as solved_percent,
    any_value(stg_problems.question) as question
from rationales
inner join stg_problems
    on
        rationales.experiment = stg_problems.experiment
        and rationales.problem_id = stg_problems.problem_id
group by rationales.experiment, rationales.problem_id
having bool_or(rationales.is_correct_strict)
order by rationales.experiment asc, solved_percent asc, rationales.problem_id asc
limit 100
