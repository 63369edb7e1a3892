"""Granular pairs (method, step 8): a preference at exactly the first pit.

Which rationale has which pit, and which rollouts may be chosen, is SQL (`int_first_pits`,
`int_granular_candidates`); the assignment that uses no text twice per problem is one pure function here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.manifests import Manifest
from selfexplore_tasks.store.schemas import TABLES


def run(context: StageContext) -> Manifest:
    """Write `first_pits` and `pairs` of kind granular: a row per explored rationale, kept or with its drop reason."""
    columns = ", ".join(name for name in TABLES["first_pits"].names if name != "true_wrong_step")
    where = "where experiment = $experiment and round = $round order by rationale_id"
    pits = [{**pit, "true_wrong_step": None} for pit in context.query(f"select {columns} from int_first_pits {where}")]
    candidates = context.query(f"select * from int_granular_candidates {where}")
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


def assign_chosen(candidates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each candidate its chosen text, or a drop reason; per problem no chosen and no rejected text twice.

    Candidates are taken in order of rationale id, options in the order given (shortest first, then the order of
    drawing). Adds ``chosen`` (an option or None) and ``drop_reason`` to a copy of each candidate.
    """
    used_chosen: set[tuple[str, str]] = set()
    used_rejected: set[tuple[str, str]] = set()
    assigned = []
    for candidate in candidates:
        problem, rejected, options = candidate["problem_id"], candidate["rejected"], candidate["options"] or []
        free = next((option for option in options if (problem, option["text"]) not in used_chosen), None)
        reason = None
        if candidate["pit_step"] is None:
            reason = "no_pit"
        elif not rejected.strip():
            reason = "empty_rejected"
        elif (problem, rejected) in used_rejected:
            reason = "duplicate_rejected"
        elif not options:
            reason = "no_chosen"
        elif free is None:
            reason = "duplicate_chosen"
        if reason is None and free is not None:
            used_chosen.add((problem, free["text"]))
            used_rejected.add((problem, rejected))
        assigned.append({**candidate, "chosen": free if reason is None else None, "drop_reason": reason})
    return assigned


def _pair_row(candidate: dict[str, Any], prompts: PromptFormat, round_number: int) -> dict[str, Any]:
    chosen = candidate["chosen"] or {"text": None, "rollout_id": None, "rationale_id": None}
    prefix = candidate["prefix"] or ""
    return {
        "pair_id": f"granular/{candidate['rationale_id']}#{round_number}",
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
