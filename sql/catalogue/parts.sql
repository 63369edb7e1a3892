-- Parts that a manifest names: what else lies in the tables' folders is unfinished.
with manifests as (
    select
        content ->> '$.experiment' as experiment,
        cast(content ->> '$.round' as integer) as round,
        cast(content -> '$.parts' as map (varchar, varchar[])) as parts
    from read_text('$SELFEXPLORE_HOME/manifests/*/round=*/*.json')
),

tables as (
    select
        experiment,
        round,
        unnest(map_entries(parts)) as entry
    from manifests
),

named as (
    select
        tables.experiment,
        tables.round,
        tables.entry.key as table_name,
        unnest(tables.entry.value) as part
    from tables
),

final as (
    select
        table_name,
        format(
            '$SELFEXPLORE_HOME/tables/{}/experiment={}/round={:03d}/{}', table_name, experiment, round, part
        ) as path
    from named
)

select * from final
