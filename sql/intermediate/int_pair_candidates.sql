-- Grain: one row per rationale that may go into an outcome pair. is_in_rft_set: the round's RFT set keeps it.
select
    int_answered_rationales.experiment,
    int_answered_rationales.round,
    int_answered_rationales.model_id,
    int_answered_rationales.problem_id,
    int_answered_rationales.rationale_id,
    int_answered_rationales.sample_index,
    int_answered_rationales.text,
    int_answered_rationales.is_correct,
    rft_examples.rationale_id is not null as is_in_rft_set,
    stg_problems.is_answers_only
from int_answered_rationales
inner join stg_problems
    on
        int_answered_rationales.experiment = stg_problems.experiment
        and int_answered_rationales.problem_id = stg_problems.problem_id
left join rft_examples
    on
        int_answered_rationales.experiment = rft_examples.experiment
        and int_answered_rationales.round = rft_examples.round
        and int_answered_rationales.rationale_id = rft_examples.rationale_id
        and rft_examples.is_kept
