"""Pure rules at the end of a round: which model is better, and why an experiment cannot go on."""

from __future__ import annotations

from collections.abc import Mapping


def is_better(candidate_accuracy: float | None, champion_accuracy: float | None) -> bool:
    """The plain promotion rule on dev accuracy; a model that was never measured is not better."""
    if candidate_accuracy is None or champion_accuracy is None:
        return False
    return candidate_accuracy > champion_accuracy


def missing_for_training(counts: Mapping[str, int], *, rft_skipped: bool, dpo_skipped: bool) -> str | None:
    """Say what a round lacked to train on, from its counts by name (view int_round_counts); None if nothing.

    Args:
        rft_skipped: the RFT set was empty; ``dpo_skipped``: no granular pair was left to train on.
    """
    if not (rft_skipped or dpo_skipped):
        return None
    drawn = counts.get("rationales", 0)
    verdicts = {name: counts.get(f"rationales_{name}", 0) for name in ("correct", "wrong", "no_answer", "unfinished")}
    if verdicts["correct"] == 0:
        return (
            f"no rationale is correct (of {drawn:,}: {verdicts['wrong']:,} wrong, {verdicts['unfinished']:,} "
            f"unfinished, {verdicts['no_answer']:,} without an answer): take easier problems, raise sample.n or "
            "sample.max_new_tokens, or check prompt.answer_phrase"
        )
    if verdicts["wrong"] == 0:
        return f"no rationale is wrong (of {drawn:,}): nothing is left to learn from, take harder problems"
    if counts.get("outcome_pairs_kept", 0) == 0:
        return (
            f"no problem has both a correct and a wrong rationale ({verdicts['correct']:,} correct, "
            f"{verdicts['wrong']:,} wrong of {drawn:,}): raise sample.n or sample.temperature"
        )
    if counts.get("pits_found", 0) == 0:
        return (
            f"no first pit in {counts.get('wrong_explored', 0):,} explored rationales: the explorer recovers from "
            "every step, so lower explore.k"
        )
    return (
        f"no granular pair was usable ({counts['pits_found']:,} pits): see table pairs, column drop_reason, "
        "and raise dpo.max_length if the pairs are too long"
    )
