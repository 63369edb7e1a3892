"""RFT set (method, step 4): gold rationales and the model's own correct ones, deduplicated per problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from selfexplore_tasks.equations import equation_chain, equations_hold
from selfexplore_tasks.matching import spread_by_chain, spread_by_distance
from selfexplore_tasks.recipe import Rft
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.manifests import Manifest


def run(context: StageContext) -> Manifest:
    """Write `rft_examples`: every candidate is a row, kept or with the reason it was dropped."""
    rows = [
        {
            "problem_id": problem.problem_id,
            "rationale_id": None,
            "origin": "gold",
            "text": problem.gold_rationale,
            "equation_chain": None,
            "is_kept": True,
            "drop_reason": None,
        }
        for problem in context.problems("train")
        if context.recipe.sft is not None and problem.gold_rationale is not None
    ]
    earlier = _kept_before(context) if context.recipe.rft.data == "accumulated" else []
    new = drawn_rationales(context, "int_correct_rationales", context.sample_source_id)
    for candidates in by_problem([*earlier, *new]).values():
        rows += select_correct(candidates, context.recipe.rft)
    path = context.write_rows("rft_examples", rows)
    kept = Counter(str(row["origin"]) for row in rows if row["is_kept"])
    dropped = Counter(str(row["drop_reason"]) for row in rows if not row["is_kept"])
    print(f"rft_set: kept {dict(kept)}, dropped {dict(dropped)}", flush=True)
    counts = {"rft_examples": len(rows), **{f"kept_{origin}": count for origin, count in kept.items()}}
    return context.commit({"rft_examples": [path]}, row_counts=counts, notes={"dropped": dict(dropped)})


def drawn_rationales(
    context: StageContext, view: Literal["int_correct_rationales", "int_wrong_rationales"], model_id: str
) -> list[dict[str, Any]]:
    """This round's rationales of a model in one of the two views, problem by problem in order of sampling."""
    return context.query(
        f"select * from {view} where experiment = $experiment and round = $round and model_id = $model_id "
        "order by problem_id, sample_index",
        model_id=model_id,
    )


def _kept_before(context: StageContext) -> list[dict[str, Any]]:
    """Sampled rationales that the round before kept (which holds those of the rounds before it)."""
    return context.query(
        "select problem_id, rationale_id, text from rft_examples where experiment = $experiment "
        "and round = $round - 1 and is_kept and origin = 'sampled' order by problem_id, rationale_id"
    )


def by_problem(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Group rows by problem_id; problems and rows stay in the order given."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(row)
    return groups


def select_correct(candidates: list[dict[str, Any]], settings: Rft) -> list[dict[str, Any]]:
    """Rows of `rft_examples` for one problem's correct rationales, deduplicated as the recipe says."""
    texts = [candidate["text"] for candidate in candidates]
    chains: list[str | None] = [None] * len(texts)
    reasons: list[str | None] = [None] * len(texts)
    if settings.style == "equations":
        chains = ["; ".join(equation_chain(text)) for text in texts]
        reasons = [None if equations_hold(text) else "false_equation" for text in texts]
    open_indices = [index for index, reason in enumerate(reasons) if reason is None]
    open_texts = [texts[index] for index in open_indices]
    found: Sequence[str | None]
    if settings.style == "equations":
        open_chains = [chains[index] or "" for index in open_indices]
        found = spread_by_chain(open_texts, open_chains, settings.max_per_problem)
    else:
        found = spread_by_distance(open_texts, settings.min_distance, settings.max_per_problem)
    for index, reason in zip(open_indices, found, strict=True):
        reasons[index] = reason
    return [
        {
            "problem_id": candidate["problem_id"],
            "rationale_id": candidate["rationale_id"],
            "origin": "sampled",
            "text": candidate["text"],
            "equation_chain": chain,
            "is_kept": reason is None,
            "drop_reason": reason,
        }
        for candidate, chain, reason in zip(candidates, chains, reasons, strict=True)
    ]
