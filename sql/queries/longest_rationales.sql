-- Which rationales are the longest?
select
    experiment,
    round,
    model_id,
    rationale_id,
    token_count,
    verdict,
    finish_reason,
    text
from rationales
order by token_count desc, experiment asc, rationale_id asc
limit 20
