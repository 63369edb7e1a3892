"""Pure rules at the end of a round: why an experiment cannot, or need not, go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfexplore_tasks.recipe import Stop


@dataclass(frozen=True)
class RoundFacts:
    """A finished round: whether it promoted, the granular pairs it trained on, its tokens and wall seconds."""

    round: int
    promoted: bool
    pairs: int
    tokens: int
    seconds: float


def stop_reason(rounds: Sequence[RoundFacts], stop: Stop, max_rounds: int) -> str | None:
    """Return why no round follows the last of ``rounds`` (0, 1, ... in order), by the recipe's field; None if one may.

    Where several rules agree the first counts: max_rounds, min_pairs, patience, max_tokens, max_hours. Round 0 trains
    on no pairs and has no rival, so it counts for the budgets only.
    """
    if not rounds:
        return None
    last = rounds[-1].round
    if last >= max_rounds:
        return f"max_rounds={max_rounds} reached"
    if last and stop.min_pairs is not None and rounds[-1].pairs < stop.min_pairs:
        return f"stop.min_pairs={stop.min_pairs}: round {last} trained on {rounds[-1].pairs} granular pairs"
    without = rounds_without_promotion(rounds)
    if stop.patience is not None and without >= stop.patience:
        return f"stop.patience={stop.patience}: no promotion since round {last - without}"
    tokens, hours = sum(one.tokens for one in rounds), sum(one.seconds for one in rounds) / 3600
    if stop.max_tokens is not None and tokens >= stop.max_tokens:
        return f"stop.max_tokens={stop.max_tokens}: {tokens:,} tokens in {len(rounds)} rounds"
    if stop.max_hours is not None and hours >= stop.max_hours:
        return f"stop.max_hours={stop.max_hours:g}: {hours:.1f} hours in {len(rounds)} rounds"
    return None


def rounds_without_promotion(rounds: Sequence[RoundFacts]) -> int:
    """Return how many of the latest rounds after round 0 promoted nothing."""
    count = 0
    for one in reversed(rounds):
        if one.promoted or one.round == 0:
            break
        count += 1
    return count


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
