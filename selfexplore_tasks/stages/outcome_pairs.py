"""Outcome pairs (method, step 6): a correct and a wrong rationale of the same problem, far apart."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.matching import Match, farthest_pairs, shortest_beyond_pairs
from selfexplore_tasks.recipe import Pairs
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.rft_set import correct_by_problem, select_correct
from selfexplore_tasks.store.manifests import Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(context: StageContext) -> Manifest:
    """Write `pairs` of kind outcome: a row per deduplicated correct rationale, matched or dropped."""
    recipe = context.recipe
    prompts = context.prompts(context.pair_source_id)
    questions = {problem.problem_id: problem.question for problem in _scope(context)}
    wrong = _wrong_by_problem(context)
    rows: list[dict[str, Any]] = []
    for candidates in correct_by_problem(context, context.pair_source_id):
        problem_id = candidates[0]["problem_id"]
        if problem_id not in questions:
            continue
        correct = [row for row in select_correct(candidates, recipe.rft) if row["is_kept"]]
        rows += _pair_rows(
            prompts.text(questions[problem_id]), correct, wrong.get(problem_id, []), recipe.pairs, context.round_number
        )
    path = context.write_rows("pairs", rows)
    kept = sum(row["is_kept"] for row in rows)
    dropped = Counter(row["drop_reason"] for row in rows if not row["is_kept"])
    print(f"outcome_pairs: {kept:,} kept, dropped {dict(dropped)}", flush=True)
    return context.commit(
        {"pairs": [path]}, row_counts={"pairs": len(rows), "kept": kept}, notes={"dropped": dict(dropped)}
    )


def match(correct: Sequence[str], wrong: Sequence[str], settings: Pairs) -> list[Match]:
    """Match the texts of one problem in the recipe's style."""
    if settings.style == "farthest":
        return farthest_pairs(correct, wrong, settings.max_per_problem)
    return shortest_beyond_pairs(correct, wrong, settings.max_per_problem, settings.min_distances)


def _scope(context: StageContext) -> list[Any]:
    everything = context.problems("train")
    if context.recipe.pairs.problems == "all":
        return everything
    return [problem for problem in everything if problem.gold_rationale is None]


def _wrong_by_problem(context: StageContext) -> dict[str, list[dict[str, Any]]]:
    rows = context.query(
        "select * from int_wrong_rationales where experiment = $experiment and round = $round "
        "and model_id = $model_id order by problem_id, sample_index",
        model_id=context.pair_source_id,
    )
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(row)
    return groups


def _pair_rows(
    prompt: str, correct: list[dict[str, Any]], wrong: list[dict[str, Any]], settings: Pairs, round_number: int
) -> list[dict[str, Any]]:
    matches = match([row["text"] for row in correct], [row["text"] for row in wrong], settings)
    partner = {found.correct_index: found for found in matches}
    rows = []
    for index, chosen in enumerate(correct):
        found = partner.get(index)
        rejected = wrong[found.wrong_index] if found else None
        reason = None if found else ("no_wrong_rationale" if not wrong else "no_partner_left")
        rows.append(
            {
                "pair_id": f"outcome/{chosen['rationale_id']}#{round_number}",
                "problem_id": chosen["problem_id"],
                "kind": "outcome",
                "pit_step": None,
                "prompt": prompt,
                "prefix": "",
                "chosen": chosen["text"],
                "rejected": rejected["text"] if rejected else None,
                "chosen_rationale_id": chosen["rationale_id"],
                "chosen_rollout_id": None,
                "rejected_rationale_id": rejected["rationale_id"] if rejected else None,
                "edit_distance": found.distance if found else None,
                "is_kept": found is not None,
                "drop_reason": reason,
            }
        )
    return rows
