"""The stages by name, in the order they run; imported by the Dags, so it imports nothing."""

ROUND_ZERO_STAGES = ("prepare", "sft", "evaluate", "summarize")
ROUND_STAGES = (
    "sample",
    "rft_set",
    "rft",
    "sample_explorer",
    "outcome_pairs",
    "explore",
    "granular_pairs",
    "dpo",
    "arms",
    "evaluate",
    "summarize",
)
SHARDED_STAGES = ("sample", "sample_explorer", "explore")
GENERATING_STAGES = ("sample", "sample_explorer", "explore", "evaluate")
TRAINING_STAGES = ("sft", "rft", "dpo", "arms")


def stages_of(round_number: int) -> tuple[str, ...]:
    """The stages of a round in order; round 0 prepares the experiment."""
    return ROUND_ZERO_STAGES if round_number == 0 else ROUND_STAGES
