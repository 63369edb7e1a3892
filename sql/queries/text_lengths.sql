-- Do the rationales grow longer or shorter from round to round?
select
    experiment,
    round,
    model_id,
    verdict,
    count(*) as rationale_count,
    round(avg(token_count), 1) as mean_tokens,
    median(token_count) as median_tokens,
    quantile_cont(token_count, 0.95) as tokens_95
from rationales
group by experiment, round, model_id, verdict
order by experiment, round, model_id, verdict
