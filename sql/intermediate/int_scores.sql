-- Grain: one row per model, benchmark and split: accuracy with its 95% Wilson score interval (z = 1.96).
with counts as (
    select
        experiment,
        round,
        model_id,
        benchmark,
        split,
        count(*) as problem_count,
        avg(is_correct_strict::integer) as accuracy,
        avg(is_correct_flexible::integer) as accuracy_flexible
    from evaluations
    group by experiment, round, model_id, benchmark, split
),

wilson as (
    select
        *,
        1 + 1.96 * 1.96 / problem_count as denominator,
        accuracy + 1.96 * 1.96 / (2 * problem_count) as centre,
        1.96 * sqrt(
            accuracy * (1 - accuracy) / problem_count + 1.96 * 1.96 / (4 * problem_count * problem_count)
        ) as half_width
    from counts
),

final as (
    select
        experiment,
        round,
        model_id,
        split_part(model_id, '/', 2) as model,
        benchmark,
        split,
        accuracy,
        greatest(0, (centre - half_width) / denominator) as accuracy_low,
        least(1, (centre + half_width) / denominator) as accuracy_high,
        accuracy_flexible,
        problem_count::integer as problem_count
    from wilson
)

select * from final
