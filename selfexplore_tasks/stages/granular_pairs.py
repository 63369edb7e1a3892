"""Granular pairs (method, step 8): a preference at exactly the first pit.

Which rationale has which pit, and which rollouts may be chosen in which order, is SQL (`int_first_pits`,
`int_granular_candidates`); the assignment that uses no text twice per problem is one pure function here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from selfexplore_tasks.problems.arithmetic import first_wrong_step
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.manifests import Manifest
from selfexplore_tasks.store.schemas import TABLES


def run(context: StageContext) -> Manifest:
    """Write `first_pits` and `pairs` of kind granular: a row per candidate, kept or with its drop reason."""
    pits = _first_pits(context)
    candidates = context.query(
        "select * from int_granular_candidates where experiment = $experiment and round = $round order by rationale_id"
    )
    if context.recipe.pairs.per_rationale == "all":
        candidates = split_options(candidates)
    prompts = context.prompts(context.explorer_id)
    rows = [_pair_row(candidate, prompts, context.round_number) for candidate in assign_chosen(candidates)]
    parts = {"first_pits": [context.write_rows("first_pits", pits)], "pairs": [context.write_rows("pairs", rows)]}
    kept = sum(row["is_kept"] for row in rows)
    dropped = Counter(row["drop_reason"] for row in rows if not row["is_kept"])
    found = sum(row["first_pit_step"] is not None for row in pits)
    print(
        f"granular_pairs: {found:,} pits in {len(pits):,} rationales, {kept:,} pairs, dropped {dict(dropped)}",
        flush=True,
    )
    counts = {"first_pits": len(pits), "pits_found": found, "pairs": len(rows), "kept": kept}
    return context.commit(parts, row_counts=counts, notes={"dropped": dict(dropped)})


def true_wrong_step(question: str, rationale: str) -> int | None:
    """The 1-based first line of ``rationale`` that is wrong; None where the question is no generated arithmetic."""
    try:
        return first_wrong_step(question, rationale)
    except ValueError:
        return None


def split_options(candidates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One candidate per option (with its ``option_index``); a candidate without options stays as it is."""
    split: list[dict[str, Any]] = []
    for candidate in candidates:
        options = candidate["options"] or []
        split += [{**candidate, "options": [option], "option_index": i} for i, option in enumerate(options)]
        if not options:
            split.append(candidate)
    return split


def assign_chosen(candidates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each candidate its chosen text, or a drop reason.

    Per problem no chosen text is used twice, and no rejected text by two rationales. Candidates are taken in the order
    given, and so are their options. Adds ``chosen`` (the first free option; of a dropped candidate the first option,
    or None) and ``drop_reason`` to a copy of each candidate.
    """
    used_chosen: set[tuple[str, str]] = set()
    rejected_by: dict[tuple[str, str], str] = {}
    assigned = []
    for candidate in candidates:
        problem, options = candidate["problem_id"], candidate["options"] or []
        rejected = (candidate["rejected"] or "").strip()  # texts that differ in the space around them are the same
        free = next((option for option in options if (problem, option["text"].strip()) not in used_chosen), None)
        rationale = candidate["rationale_id"]
        reason = None
        if candidate["pit_step"] is None:
            reason = "no_pit"
        elif not rejected:
            reason = "empty_rejected"
        elif rejected_by.get((problem, rejected), rationale) != rationale:
            reason = "duplicate_rejected"
        elif not options:
            reason = "no_chosen"
        elif free is None:
            reason = "duplicate_chosen"
        else:
            used_chosen.add((problem, free["text"].strip()))
            rejected_by[(problem, rejected)] = rationale
        assigned.append({**candidate, "chosen": free or next(iter(options), None), "drop_reason": reason})
    return assigned


def _first_pits(context: StageContext) -> list[dict[str, Any]]:
    columns = ", ".join(name for name in TABLES["first_pits"].names if name != "true_wrong_step")
    rows = context.query(
        f"select {columns}, question, text from int_first_pits "
        "where experiment = $experiment and round = $round order by rationale_id"
    )
    # Known truth counts lines: with other steps its numbers would not be theirs.
    has_lines = context.recipe.steps.style == "lines"
    for row in rows:
        question, text = row.pop("question"), row.pop("text")
        row["true_wrong_step"] = true_wrong_step(question, text) if has_lines else None
    return rows


def _pair_row(candidate: dict[str, Any], prompts: PromptFormat, round_number: int) -> dict[str, Any]:
    chosen = candidate["chosen"] or {"text": None, "rollout_id": None, "rationale_id": None}
    prefix = candidate["prefix"] or ""
    option = f"/{candidate['option_index']:02d}" if "option_index" in candidate else ""
    return {
        "pair_id": f"granular/{candidate['rationale_id']}{option}#{round_number}",
        "problem_id": candidate["problem_id"],
        "kind": "granular",
        "pit_step": candidate["pit_step"],
        "prompt": prompts.text(candidate["question"]) + prefix,
        "prefix": prefix,
        "chosen": chosen["text"],
        "rejected": candidate["rejected"],
        "chosen_rationale_id": chosen["rationale_id"],
        "chosen_rollout_id": chosen["rollout_id"],
        "rejected_rationale_id": candidate["rationale_id"],
        "edit_distance": None,
        "is_kept": candidate["drop_reason"] is None,
        "drop_reason": candidate["drop_reason"],
    }
