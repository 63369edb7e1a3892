-- Which wrong rationales was the model surest of?
select
    rationales.experiment,
    rationales.round,
    rationales.model_id,
    rationales.rationale_id,
    round(exp(rationales.logprob_mean), 3) as probability_per_token,
    stg_problems.gold_answer,
    rationales.answer,
    rationales.text,
    stg_problems.question
from rationales
inner join stg_problems
    on
        rationales.experiment = stg_problems.experiment
        and rationales.problem_id = stg_problems.problem_id
where rationales.verdict = 'wrong'
order by rationales.logprob_mean desc, rationales.experiment asc, rationales.rationale_id asc
limit 50
