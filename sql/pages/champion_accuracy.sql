-- Grain: one row: dev accuracy of a model over the experiment's own problems, with its 95% Wilson interval (z = 1.96).
with pooled as (
    select
        sum(problem_count) as problem_count,
        sum(accuracy * problem_count) / sum(problem_count) as accuracy
    from scores
    where
        model_id = getvariable('model_id')
        and split = 'dev'
        and not list_contains(getvariable('other_benchmarks')::varchar[], benchmark)
),

final as (
    select
        accuracy,
        (
            accuracy + 1.96 * 1.96 / (2 * problem_count)
            - 1.96 * sqrt(
                accuracy * (1 - accuracy) / problem_count + 1.96 * 1.96 / (4 * problem_count * problem_count)
            )
        ) / (1 + 1.96 * 1.96 / problem_count) as low,
        (
            accuracy + 1.96 * 1.96 / (2 * problem_count)
            + 1.96 * sqrt(
                accuracy * (1 - accuracy) / problem_count + 1.96 * 1.96 / (4 * problem_count * problem_count)
            )
        ) / (1 + 1.96 * 1.96 / problem_count) as high
    from pooled
    where problem_count > 0
)

select
    accuracy,
    greatest(0, low) as low,
    least(1, high) as high
from final
