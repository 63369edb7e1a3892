"""The stages by name, in the order they run; imported by the Dags, so it imports nothing."""

ROUND_ZERO_STAGES = ("prepare", "sft", "evaluate", "gate", "summarize")
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
    "gate",
    "summarize",
)
AFTER_A_ROUND = ("benchmarks",)
"""Stages that may follow a finished round; no round waits for them."""
SHARDED_STAGES = ("sample", "sample_explorer", "explore")
GENERATING_STAGES = ("sample", "sample_explorer", "explore", "evaluate", *AFTER_A_ROUND)
MODELS = {
    "prepare": ("base",),
    "sft": ("sft",),
    "rft": ("rft",),
    "dpo": ("policy",),
    "arms": ("continued_rft", "outcome_dpo"),
}
"""Names of the models that a stage trains."""
TRAINING_STAGES = ("sft", "rft", "dpo", "arms")


def stages_of(round_number: int) -> tuple[str, ...]:
    """The stages of a round in order; round 0 prepares the experiment."""
    return ROUND_ZERO_STAGES if round_number == 0 else ROUND_STAGES
