"""Outcome pairs (method, step 6): a correct and a wrong rationale of the same problem, far apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from selfexplore_tasks.matching import Matching, farthest_pairs, shortest_beyond_pairs
from selfexplore_tasks.problems.model import Problem
from selfexplore_tasks.recipe import Pairs
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.rft_set import by_problem, drawn_rationales, select_correct
from selfexplore_tasks.store.manifests import Manifest

Row = dict[str, Any]


def run(context: StageContext) -> Manifest:
    """Write `pairs` of kind outcome: every pair, and every rationale that found no partner with the reason why."""
    recipe = context.recipe
    prompts = context.prompts(context.pair_source_id)
    correct = by_problem(drawn_rationales(context, "int_correct_rationales", context.pair_source_id))
    wrong = by_problem(drawn_rationales(context, "int_wrong_rationales", context.pair_source_id))
    rows: list[Row] = []
    for problem in _scope(context):
        chosen = select_correct(correct.get(problem.problem_id, []), recipe.rft)
        rows += _pair_rows(
            {"problem_id": problem.problem_id, "prompt": prompts.text(problem.question)},
            [row for row in chosen if row["is_kept"]],
            wrong.get(problem.problem_id, []),
            recipe.pairs,
            context.round_number,
        )
    path = context.write_rows("pairs", rows)
    kept = sum(row["is_kept"] for row in rows)
    dropped = Counter(row["drop_reason"] for row in rows if not row["is_kept"])
    print(f"outcome_pairs: {kept:,} kept, dropped {dict(dropped)}", flush=True)
    return context.commit(
        {"pairs": [path]}, row_counts={"pairs": len(rows), "kept": kept}, notes={"dropped": dict(dropped)}
    )


def match(correct: Sequence[str], wrong: Sequence[str], settings: Pairs) -> Matching:
    """Match the texts of one problem in the recipe's style."""
    if settings.style == "farthest":
        return farthest_pairs(correct, wrong, settings.max_per_problem)
    return shortest_beyond_pairs(correct, wrong, settings.max_per_problem, settings.min_distances)


def _scope(context: StageContext) -> list[Problem]:
    everything = context.problems("train")
    if context.recipe.pairs.problems == "all":
        return everything
    return [problem for problem in everything if problem.gold_rationale is None]


def _pair_rows(
    problem: Row, correct: Sequence[Row], wrong: Sequence[Row], settings: Pairs, round_number: int
) -> list[Row]:
    """Rows of one problem: a row per kept correct rationale, then one per wrong rationale that is in no pair."""
    matching = match([row["text"] for row in correct], [row["text"] for row in wrong], settings)

    def pair_id(rationale: Row) -> str:
        return f"outcome/{rationale['rationale_id']}#{round_number}"

    partner = {found.correct_index: found for found in matching.matches}
    rows = []
    for index, chosen in enumerate(correct):
        found = partner.get(index)
        rejected = wrong[found.wrong_index] if found else None
        distance = found.distance if found else None
        rows.append(_row(problem, pair_id(chosen), chosen, rejected, matching.correct_dropped.get(index), distance))
    return rows + [
        _row(problem, pair_id(wrong[index]), None, wrong[index], reason)
        for index, reason in matching.wrong_dropped.items()
    ]


def _row(
    problem: Row,
    pair_id: str,
    chosen: Row | None,
    rejected: Row | None,
    drop_reason: str | None,
    edit_distance: int | None = None,
) -> Row:
    return {
        **problem,
        "pair_id": pair_id,
        "kind": "outcome",
        "pit_step": None,
        "prefix": "",
        "chosen": chosen["text"] if chosen else None,
        "rejected": rejected["text"] if rejected else None,
        "chosen_rationale_id": chosen["rationale_id"] if chosen else None,
        "chosen_rollout_id": None,
        "rejected_rationale_id": rejected["rationale_id"] if rejected else None,
        "edit_distance": edit_distance,
        "is_kept": drop_reason is None,
        "drop_reason": drop_reason,
    }
