-- Grain: one row per problem of one page of the browser, with the number of problems that fit the filters (`total`).
with fitting as (
    select *
    from summary
    where
        (getvariable('split')::varchar is null or split = getvariable('split'))
        and case getvariable('status')
            when 'solved' then is_solved
            when 'unsolved' then not is_solved
            when 'newly_solved' then is_solved and not was_solved
            when 'newly_lost' then not is_solved and was_solved
            else true
        end
        and (getvariable('pit_step')::integer is null or list_contains(pit_steps, getvariable('pit_step')))
        and contains(lower(question || ' ' || problem_id), lower(getvariable('text')))
),

counted as (
    select count(*) as total from fitting
),

shown as (
    select * from fitting
    order by problem_id
    limit getvariable('row_limit') offset getvariable('row_offset')
)

select
    counted.total,
    shown.*
from counted
left join shown on true
order by shown.problem_id
