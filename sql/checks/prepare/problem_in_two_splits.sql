-- A question may stand in one split only: a model that trained on a dev or test problem proves nothing.
select
    trim(question) as question,
    list(distinct split) as splits
from problems
where experiment = getvariable('experiment') and getvariable('round') = 0
group by trim(question)
having count(distinct split) > 1
