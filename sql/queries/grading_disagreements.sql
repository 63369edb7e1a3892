-- On which answers do the two graders disagree, and how often?
select
    experiment,
    round,
    table_name,
    gold_answer,
    answer,
    grade_reason,
    is_correct_strict,
    is_correct_second,
    count(*) as text_count,
    min(row_id) as first_row_id
from grade_disagreements
group by
    experiment, round, table_name, gold_answer, answer, grade_reason, is_correct_strict, is_correct_second
order by text_count desc, experiment asc, round asc, table_name asc, gold_answer asc, answer asc
