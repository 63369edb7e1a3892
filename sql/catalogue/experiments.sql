-- Table `experiments` for the catalogue file: one row per experiment file.
select
    parse_filename(filename, true) as experiment,
    content ->> '$.recipe_hash' as recipe_hash,
    content ->> '$.created_at' as created_at,
    content ->> '$.recipe' as recipe
from read_text('$SELFEXPLORE_HOME/experiments/*.json')
