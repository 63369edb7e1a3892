-- Table `stages` for the catalogue file: one row per manifest.
select
    content ->> '$.experiment' as experiment,
    cast(content ->> '$.round' as integer) as round,
    content ->> '$.stage' as stage,
    cast(content ->> '$.seconds' as double) as seconds,
    cast(content ->> '$.token_count' as bigint) as token_count,
    cast(content -> '$.row_counts' as map (varchar, bigint)) as row_counts,
    content ->> '$.started_at' as started_at,
    content ->> '$.finished_at' as finished_at,
    cast(content ->> '$.seed' as bigint) as seed,
    content ->> '$.recipe_hash' as recipe_hash,
    content ->> '$.notes' as notes
from read_text('$SELFEXPLORE_HOME/manifests/*/round=*/*.json')
