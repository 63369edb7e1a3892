-- Which problems does the newest explorer solve now and then, but not always?
with newest as (
    select
        experiment,
        max(round) as round
    from rationales
    group by experiment
)

select
    rationales.experiment,
    rationales.round,
    rationales.model_id,
    rationales.problem_id,
    count(*) as rationale_count,
    round(100 * avg(rationales.is_correct_strict::integer), 1) as solved_percent
from rationales
inner join newest
    on
        rationales.experiment = newest.experiment
        and rationales.round = newest.round
group by rationales.experiment, rationales.round, rationales.model_id, rationales.problem_id
having avg(rationales.is_correct_strict::integer) between 0.2 and 0.8
order by rationales.experiment, rationales.problem_id, rationales.model_id
limit 100
