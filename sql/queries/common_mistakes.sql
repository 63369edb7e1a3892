-- Which wrong answer is given again and again?
select
    rationales.experiment,
    rationales.problem_id,
    any_value(stg_problems.gold_answer) as gold_answer,
    rationales.answer,
    count(*) as rationale_count,
    count(distinct rationales.round) as round_count,
    any_value(stg_problems.question) as question
from rationales
inner join stg_problems
    on
        rationales.experiment = stg_problems.experiment
        and rationales.problem_id = stg_problems.problem_id
where rationales.verdict = 'wrong'
group by rationales.experiment, rationales.problem_id, rationales.answer
order by rationale_count desc, rationales.experiment asc, rationales.problem_id asc, rationales.answer asc
limit 50
