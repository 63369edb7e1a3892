-- Grain: one row per model, benchmark and split, with the gain over the same benchmark's first model.
-- model: base, sft, rft, policy or arm
-- model_id: the model, <round>/<model>
-- benchmark: name of the problems' source
-- split: dev or test
-- accuracy: share answered correctly, strict verdict
-- accuracy_low: lower end of the 95% Wilson interval
-- accuracy_high: upper end of the 95% Wilson interval
-- problem_count: problems behind the accuracy
-- promoted: this model became the champion in this round
-- gain_over_first: accuracy minus that of the experiment's first model on the same benchmark and split
select
    experiment,
    round,
    model,
    model_id,
    benchmark,
    split,
    accuracy,
    accuracy_low,
    accuracy_high,
    problem_count,
    promoted,
    accuracy - first_value(accuracy) over (
        partition by experiment, benchmark, split
        order by round asc, model desc
    ) as gain_over_first
from scores
