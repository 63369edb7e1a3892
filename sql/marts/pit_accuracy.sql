-- Grain: one row per round and true first wrong step (null: no explorable step is wrong), and one for all steps of a
-- round (is_total): how many first pits are exact, early and late, under which settings, found by how good an explorer.
-- is_total: the row counts all steps of the round
-- wrong_step: 1-based first wrong step; null where no explorable step is wrong, and in totals
-- rationale_count: explored rationales whose first wrong step is known
-- exact: share whose first pit is the first wrong step
-- early: share whose first pit is before it
-- late: share whose first pit is behind it, or that have none
-- rollouts_per_rationale: mean rollouts drawn for a rationale
-- k: rollouts per step as the recipe says; null for imported rollouts
-- explorer_id: the model that drew the rollouts
-- explorer_accuracy: its accuracy on dev
-- token_count: tokens that exploring drew (rationales with the same first steps share draws), in totals only
with explorers as (
    select
        experiment,
        round,
        any_value(model_id) as explorer_id
    from rollouts
    group by experiment, round
),

tallies as (
    select
        experiment,
        round,
        wrong_step,
        grouping(wrong_step) = 1 as is_total,
        count(*) as rationale_count,
        count_if(outcome = 'exact') as exact_count,
        count_if(outcome = 'early') as early_count,
        count_if(outcome = 'late') as late_count,
        sum(rollout_count) as rollout_count
    from int_pit_outcomes
    group by grouping sets ((experiment, round), (experiment, round, wrong_step))
),

final as (
    select
        tallies.experiment,
        tallies.round,
        tallies.is_total,
        tallies.wrong_step,
        tallies.rationale_count,
        tallies.exact_count / tallies.rationale_count as exact,
        tallies.early_count / tallies.rationale_count as early,
        tallies.late_count / tallies.rationale_count as late,
        tallies.rollout_count / tallies.rationale_count as rollouts_per_rationale,
        case
            when explorers.explorer_id like '%/imported' then null
            -- A fork's rounds from before it were explored with another recipe.
            when explored.recipe_hash <> experiments.recipe_hash then null
            else (experiments.recipe ->> '$.explore.k')::integer
        end as k,
        explorers.explorer_id,
        scores.accuracy as explorer_accuracy,
        -- Of imported rollouts it is not known.
        case when tallies.is_total then nullif(explored.token_count, 0) end as token_count
    from tallies
    inner join experiments on tallies.experiment = experiments.experiment
    left join stages as explored
        on
            tallies.experiment = explored.experiment
            and tallies.round = explored.round
            and explored.stage = 'explore'
    left join explorers
        on
            tallies.experiment = explorers.experiment
            and tallies.round = explorers.round
    left join scores
        on
            explorers.experiment = scores.experiment
            and explorers.explorer_id = scores.model_id
            and scores.split = 'dev'
)

select * from final
