"""The stored tables: one pyarrow schema each, with a sentence for every column.

``experiment`` and ``round`` are hive keys of the path, added to every table when it is read.
``model_id`` is ``<round>/<base|sft|rft|policy|outcome_dpo|continued_rft|imported>``. A column that an older part
lacks reads as null; version 2 added grade_reason, is_correct_second, true_wrong_step and the table comparisons;
version 3 what the gate measured, the reason of its decision and the estimates (table rounds).
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 3


def _field(name: str, kind: pa.DataType, doc: str) -> pa.Field:
    return pa.field(name, kind, metadata={"doc": doc})


TEXT, INT, FLAG, REAL = pa.string(), pa.int32(), pa.bool_(), pa.float64()

KEYS = (
    _field("experiment", TEXT, "name of the experiment"),
    _field("round", INT, "round it was made in; 0 prepares and fine-tunes"),
)
"""Columns that every table has, from the folders that its parts are in."""

TABLE_DOCS = {
    "problems": "one row per problem, with its split; written in round 0",
    "rejected_rows": "one row per source row that was not used, and why",
    "rationales": "one row per sampled solution, with verdict, tokens and log-probability",
    "rft_examples": "one row per candidate of the RFT set, kept or with its drop reason",
    "rollouts": "one row per attempt to finish a wrong rationale after one of its steps",
    "first_pits": "one row per explored rationale: its first pit, pass and draw counts per step",
    "pairs": "one row per outcome or granular pair, kept or with its drop reason",
    "evaluations": "one row per model and dev or test problem: its greedy answer",
    "scores": "one row per model and split: accuracy with its 95% interval",
    "comparisons": "one row per two models of a round and split: paired difference with its bootstrap interval",
    "rounds": "one row per round: champion, decision, counts, tokens, seconds, alarms",
    "experiments": "one row per experiment, with its recipe",
    "stages": "one row per finished stage of a round: seconds, tokens, rows, what it noted",
}
"""What a row of each table is."""

EXPERIMENT_SCHEMA = pa.schema(
    [
        _field("experiment", TEXT, "name of the experiment"),
        _field("recipe_hash", TEXT, "hash of the recipe fields that change results"),
        _field("created_at", TEXT, "when it was created, ISO time"),
        _field("recipe", TEXT, "the recipe as JSON: recipe ->> '$.explore.k'"),
    ]
)
STAGE_SCHEMA = pa.schema(
    [
        *KEYS,
        _field("stage", TEXT, "name of the stage"),
        _field("seconds", REAL, "wall seconds"),
        _field("token_count", pa.int64(), "tokens generated, or trained on"),
        _field("row_counts", pa.map_(TEXT, pa.int64()), "rows written, by table"),
        _field("started_at", TEXT, "ISO time"),
        _field("finished_at", TEXT, "ISO time"),
        _field("seed", pa.int64(), "seed of the recipe"),
        _field("recipe_hash", TEXT, "hash of the recipe it ran under"),
        _field("notes", TEXT, "what the stage noted, as JSON: settings, models, curves"),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "problems": pa.schema(
        [
            _field("problem_id", TEXT, "key: source and a hash of the question"),
            _field("source", TEXT, "where the problem came from"),
            _field("split", TEXT, "train, dev or test"),
            _field("question", TEXT, "the question"),
            _field("gold_answer", TEXT, "the right answer"),
            _field("gold_rationale", TEXT, "gold solution; null where only the answer may be used"),
        ]
    ),
    "rejected_rows": pa.schema(
        [
            _field("source", TEXT, "where the row came from"),
            _field("row_number", pa.int64(), "1-based row of the source"),
            _field("reason", TEXT, "duplicate, empty_question, no_answer, unreadable_answer or in_test"),
            _field("question", TEXT, "the question as read, cut to 200 characters"),
        ]
    ),
    "rationales": pa.schema(
        [
            _field("rationale_id", TEXT, "key"),
            _field("problem_id", TEXT, "the problem it tries to solve"),
            _field("model_id", TEXT, "the model that drew it"),
            _field("sample_index", INT, "0-based draw for this problem"),
            _field("text", TEXT, "the rationale as generated"),
            _field("answer", TEXT, "extracted answer; null if none"),
            _field("verdict", TEXT, "correct, wrong, no_answer or unfinished"),
            _field("is_correct_strict", FLAG, "correct with the answer phrase; trains and gates"),
            _field("is_correct_flexible", FLAG, "correct when the last number counts as the answer"),
            _field("grade_reason", TEXT, "what decided the strict verdict"),
            _field("is_correct_second", FLAG, "the second grader's verdict; null without one"),
            _field("finish_reason", TEXT, "stop or length"),
            _field("token_count", INT, "generated tokens"),
            _field("logprob_mean", REAL, "mean log-probability of the tokens, nats"),
            _field("seed", pa.int64(), "seed of this draw"),
        ]
    ),
    "rft_examples": pa.schema(
        [
            _field("problem_id", TEXT, "the problem"),
            _field("rationale_id", TEXT, "the rationale; null for a gold one"),
            _field("origin", TEXT, "gold or sampled"),
            _field("text", TEXT, "the rationale trained on"),
            _field("equation_chain", TEXT, "its equations, the key of deduplication; null by distance"),
            _field("is_kept", FLAG, "used for training"),
            _field("drop_reason", TEXT, "null if kept: false_equation, duplicate_chain, too_close or over_limit"),
        ]
    ),
    "rollouts": pa.schema(
        [
            _field("rollout_id", TEXT, "key"),
            _field("rationale_id", TEXT, "the wrong rationale explored"),
            _field("problem_id", TEXT, "its problem"),
            _field("model_id", TEXT, "the explorer"),
            _field("step_index", INT, "1-based: drawn after steps 1..step_index"),
            _field("step_count", INT, "steps of the rationale that may be explored"),
            _field("rollout_index", INT, "0-based draw at this step"),
            _field("prefix", TEXT, "steps 1..step_index, exactly as in the rationale"),
            _field("text", TEXT, "the completion"),
            _field("answer", TEXT, "extracted answer; null if none"),
            _field("is_correct", FLAG, "strict verdict"),
            _field("is_correct_flexible", FLAG, "flexible verdict"),
            _field("grade_reason", TEXT, "what decided the strict verdict"),
            _field("is_correct_second", FLAG, "the second grader's verdict; null without one"),
            _field("finish_reason", TEXT, "stop or length"),
            _field("token_count", INT, "generated tokens"),
        ]
    ),
    "first_pits": pa.schema(
        [
            _field("rationale_id", TEXT, "key: the wrong rationale"),
            _field("problem_id", TEXT, "its problem"),
            _field("first_pit_step", INT, "1-based first step no rollout recovers from; null if none"),
            _field("step_count", INT, "steps that may be explored"),
            _field("pass_counts", pa.list_(INT), "correct rollouts after step 1, 2, ...; null where none was drawn"),
            _field("draw_counts", pa.list_(INT), "rollouts drawn after step 1, 2, ..."),
            _field("is_confirmed", FLAG, "the pit was tested again with more rollouts"),
            _field("true_wrong_step", INT, "1-based first wrong step where it is computable (arithmetic), else null"),
        ]
    ),
    "pairs": pa.schema(
        [
            _field("pair_id", TEXT, "key"),
            _field("problem_id", TEXT, "the problem"),
            _field("kind", TEXT, "outcome or granular"),
            _field("pit_step", INT, "granular: the first pit; null for outcome"),
            _field("prompt", TEXT, "question as prompted, then the steps before the pit"),
            _field("prefix", TEXT, "the steps before the pit alone"),
            _field("chosen", TEXT, "preferred continuation"),
            _field("rejected", TEXT, "granular: the pit step alone; outcome: the wrong rationale"),
            _field("chosen_rationale_id", TEXT, "where chosen came from, if a rationale"),
            _field("chosen_rollout_id", TEXT, "where chosen came from, if a rollout"),
            _field("rejected_rationale_id", TEXT, "the wrong rationale"),
            _field("edit_distance", INT, "outcome: characters between the two rationales"),
            _field("is_kept", FLAG, "used for training"),
            _field("drop_reason", TEXT, "null if kept, else why not"),
        ]
    ),
    "evaluations": pa.schema(
        [
            _field("model_id", TEXT, "the model"),
            _field("benchmark", TEXT, "name of the problems' source"),
            _field("benchmark_version", TEXT, "hash of the problem ids and golds of the split"),
            _field("split", TEXT, "dev or test"),
            _field("problem_id", TEXT, "the problem"),
            _field("text", TEXT, "greedy completion"),
            _field("answer", TEXT, "extracted answer; null if none"),
            _field("is_correct_strict", FLAG, "strict verdict"),
            _field("is_correct_flexible", FLAG, "flexible verdict"),
            _field("grade_reason", TEXT, "what decided the strict verdict"),
            _field("is_correct_second", FLAG, "the second grader's verdict; null without one"),
            _field("finish_reason", TEXT, "stop or length"),
            _field("token_count", INT, "generated tokens"),
        ]
    ),
    "scores": pa.schema(
        [
            _field("model_id", TEXT, "the model"),
            _field("model", TEXT, "base, sft, rft, policy or arm"),
            _field("benchmark", TEXT, "name of the problems' source"),
            _field("split", TEXT, "dev or test"),
            _field("accuracy", REAL, "share answered correctly, strict verdict"),
            _field("accuracy_low", REAL, "lower end of the 95% Wilson interval"),
            _field("accuracy_high", REAL, "upper end of the 95% Wilson interval"),
            _field("accuracy_flexible", REAL, "share answered correctly, flexible verdict"),
            _field("problem_count", INT, "problems behind the accuracy"),
            _field("promoted", FLAG, "this model became the champion in this round"),
        ]
    ),
    "comparisons": pa.schema(
        [
            _field("model_id", TEXT, "the model"),
            _field("baseline_id", TEXT, "the model it is compared with"),
            _field("benchmark", TEXT, "name of the problems' source"),
            _field("split", TEXT, "dev or test"),
            _field("problem_count", INT, "problems both answered"),
            _field("gained", INT, "problems the model solves and the baseline does not"),
            _field("lost", INT, "problems the baseline solves and the model does not"),
            _field("difference", REAL, "accuracy of the model minus that of the baseline"),
            _field("difference_low", REAL, "lower end of the 95% paired bootstrap interval"),
            _field("difference_high", REAL, "upper end of the 95% paired bootstrap interval"),
        ]
    ),
    "rounds": pa.schema(
        [
            _field("parent", TEXT, "champion before the round (model_id); null in round 0"),
            _field("candidate", TEXT, "model the round proposes (model_id)"),
            _field("promoted", FLAG, "the candidate became the champion"),
            _field("decision", TEXT, "promoted, kept, guarded, regression, rejected, set_by_hand or first"),
            _field("decision_reason", TEXT, "why, in a sentence with the numbers"),
            _field("gain", REAL, "dev accuracy of the candidate minus that of the parent; null in round 0"),
            _field("gain_low", REAL, "lower end of its interval: the gain is smaller with probability alpha_spent"),
            _field("gain_high", REAL, "upper end of its interval: the gain is larger with probability alpha_spent"),
            _field("p_value", REAL, "one-sided: such a gain if the candidate were no better than gate.min_gain"),
            _field("alpha_spent", REAL, "chance of a wrong promotion that this round was allowed"),
            _field("test_gain", REAL, "the same gain on test; reported only"),
            _field("gain_gap", REAL, "gain on dev minus gain on test: what choosing on dev has flattered"),
            _field("champion", TEXT, "champion after the round (model_id)"),
            _field("counts", pa.map_(TEXT, pa.int64()), "rows by name: problems, rationales, pits, pairs, ..."),
            _field("tokens", pa.map_(TEXT, pa.int64()), "generated or trained tokens per stage"),
            _field("seconds", pa.map_(TEXT, REAL), "wall seconds per stage"),
            _field("estimated_seconds", pa.map_(TEXT, REAL), "wall seconds per stage as estimated before the round"),
            _field("estimated_tokens", pa.map_(TEXT, pa.int64()), "tokens per stage as estimated before the round"),
            _field("alarms", pa.list_(TEXT), "what looked wrong"),
            _field("stop_reason", TEXT, "why no round follows; null while one may"),
        ]
    ),
}
