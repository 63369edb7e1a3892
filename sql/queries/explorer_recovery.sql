-- How often does each explorer recover a wrong rationale?
with by_rationale as (
    select
        experiment,
        round,
        model_id,
        rationale_id,
        count(*) as draw_count,
        count_if(is_correct) as pass_count
    from rollouts
    group by experiment, round, model_id, rationale_id
)

select
    by_rationale.experiment,
    by_rationale.round,
    by_rationale.model_id as explorer_id,
    count(*) as rationale_count,
    sum(by_rationale.draw_count) as rollout_count,
    round(100 * sum(by_rationale.pass_count) / sum(by_rationale.draw_count), 1) as rollouts_right_percent,
    round(100 * count_if(by_rationale.pass_count > 0) / count(*), 1) as rationales_recovered_percent,
    -- Rationales with the same first steps share rollouts: the manifest counts their tokens once.
    any_value(nullif(stages.token_count, 0)) as token_count
from by_rationale
left join stages
    on
        by_rationale.experiment = stages.experiment
        and by_rationale.round = stages.round
        and stages.stage = 'explore'
group by by_rationale.experiment, by_rationale.round, by_rationale.model_id
order by by_rationale.experiment, by_rationale.round, by_rationale.model_id
