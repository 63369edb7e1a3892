-- How do the experiments compare: first model, best champion, gain and cost?
with accuracies as (
    select
        experiment,
        benchmark,
        split,
        min_by(accuracy, round) as first_accuracy,
        max_by(accuracy, round) as last_accuracy,
        max_by(model_id, round) as champion,
        max(round) as promoted_in
    from scores
    where promoted
    group by experiment, benchmark, split
),

costs as (
    select
        experiment,
        max(round) as last_round,
        sum(seconds) as seconds,
        sum(token_count) as token_count
    from stage_costs
    group by experiment
)

select
    accuracies.experiment,
    experiments.recipe ->> '$.name' as recipe,
    accuracies.benchmark,
    accuracies.split,
    round(100 * accuracies.first_accuracy, 1) as first_accuracy,
    round(100 * accuracies.last_accuracy, 1) as champion_accuracy,
    round(100 * (accuracies.last_accuracy - accuracies.first_accuracy), 1) as gain,
    accuracies.champion,
    accuracies.promoted_in,
    costs.last_round,
    round(costs.seconds / 3600, 2) as hours,
    costs.token_count
from accuracies
inner join experiments on accuracies.experiment = experiments.experiment
inner join costs on accuracies.experiment = costs.experiment
order by accuracies.benchmark asc, accuracies.split asc, champion_accuracy desc
