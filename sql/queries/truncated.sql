-- What share of the texts was cut at the token limit, round by round?
with texts as (
    select
        experiment,
        round,
        'rationales' as table_name,
        model_id,
        finish_reason
    from rationales
    union all
    select
        experiment,
        round,
        'rollouts' as table_name,
        model_id,
        finish_reason
    from rollouts
    union all
    select
        experiment,
        round,
        'evaluations' as table_name,
        model_id,
        finish_reason
    from evaluations
)

select
    experiment,
    round,
    table_name,
    model_id,
    count(*) as text_count,
    count_if(finish_reason = 'length') as truncated_count,
    round(100 * count_if(finish_reason = 'length') / count(*), 2) as truncated_percent
from texts
group by experiment, round, table_name, model_id
order by experiment, round, table_name, model_id
