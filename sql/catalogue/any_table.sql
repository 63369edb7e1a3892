-- Any stored table for the catalogue file. An empty part in the folder `catalogue` brings every column.
with stored as (
    select *
    from
        read_parquet(
            '$SELFEXPLORE_HOME/$FOLDER/$TABLE/experiment=*/round=*/part-*.parquet',
            filename = true,
            union_by_name = true,
            hive_partitioning = true,
            hive_types = { 'experiment': varchar, 'round': integer }
        )
),

named as (
    select path from layout.parts
    where table_name = '$TABLE'
),

final as (
    select * exclude (filename) from stored
    where filename in (select named.path from named)
)

select * from final
