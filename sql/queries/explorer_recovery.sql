-- How often does each explorer recover a wrong rationale?
with by_rationale as (
    select
        experiment,
        round,
        model_id,
        rationale_id,
        count(*) as draw_count,
        count_if(is_correct) as pass_count,
        sum(token_count) as token_count
    from rollouts
    group by experiment, round, model_id, rationale_id
)

select
    experiment,
    round,
    model_id as explorer_id,
    count(*) as rationale_count,
    sum(draw_count) as rollout_count,
    round(100 * sum(pass_count) / sum(draw_count), 1) as rollouts_right_percent,
    round(100 * count_if(pass_count > 0) / count(*), 1) as rationales_recovered_percent,
    sum(token_count) as token_count
from by_rationale
group by experiment, round, model_id
order by experiment, round, model_id
