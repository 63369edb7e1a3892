"""Gate: every model the round made compared with its rivals, and whether its candidate is really better on dev.

The verdict is only proposed here. Stage `summarize` makes it true, after a person approved it where the recipe asks
for that. Test accuracy is compared too and never decides.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from selfexplore_tasks.gating import Decision, PairedOutcome, decide
from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.statistics import paired_bootstrap
from selfexplore_tasks.store.champions import champion_before
from selfexplore_tasks.store.manifests import Manifest


def run(context: StageContext) -> Manifest:
    """Write `comparisons`; the notes hold the proposed decision."""
    if context.round_number == 0:
        return _first(context)
    parent = champion_before(context.store, context.slug, context.round_number)
    candidate = str(context.manifest("dpo").notes["model_id"])
    comparisons = _comparisons(context, parent)
    rivals = [row for row in comparisons if (row["model_id"], row["baseline_id"]) == (candidate, parent)]
    decision = _decide(context, rivals) if candidate != parent else None
    notes: dict[str, Any] = {
        "parent": parent,
        "candidate": candidate,
        "needs_approval": bool(decision and decision.is_promoted and context.recipe.gate.require_approval),
        "test_gain": _gain(context, rivals, "test"),
    }
    if decision is None:
        notes["decision"] = {"decision": "kept", "reason": "the round trained no new model"}
    else:
        notes["decision"] = asdict(decision)
    print(f"gate: {candidate} against {parent}: {notes['decision']['reason']}", flush=True)
    return context.commit(
        {"comparisons": [context.write_rows("comparisons", comparisons)]},
        row_counts={"comparisons": len(comparisons)},
        notes=notes,
    )


def _first(context: StageContext) -> Manifest:
    """Round 0: its model is the champion without a rival."""
    notes = {
        "parent": None,
        "candidate": str(context.manifest("sft").notes["model_id"]),
        "needs_approval": False,
        "test_gain": None,
        "decision": {"decision": "first", "reason": "the experiment's first model"},
    }
    return context.commit({}, row_counts={"comparisons": 0}, notes=notes)


def _decide(context: StageContext, rivals: list[dict[str, Any]]) -> Decision:
    guarded = {guard.benchmark for guard in context.recipe.gate.guards}
    return decide(
        _main_outcome(context, rivals, "dev"),
        {row["benchmark"]: _outcome([row]) for row in rivals if row["split"] == "dev" and row["benchmark"] in guarded},
        context.recipe.gate,
        planned_rounds=context.recipe.max_rounds,
        seed=derive_seed(context.recipe.seed, "gate", context.round_number),
    )


def _gain(context: StageContext, rivals: list[dict[str, Any]], split: str) -> float | None:
    outcome = _main_outcome(context, rivals, split)
    return outcome.difference if outcome.problem_count else None


def _main_outcome(context: StageContext, rivals: list[dict[str, Any]], split: str) -> PairedOutcome:
    """On the experiment's own problems, without the benchmarks that are only measured."""
    others = {benchmark.name for benchmark in context.recipe.problems.benchmarks}
    return _outcome([row for row in rivals if row["split"] == split and row["benchmark"] not in others])


def _outcome(rows: list[dict[str, Any]]) -> PairedOutcome:
    problem_count, gained, lost = (sum(row[name] for row in rows) for name in ("problem_count", "gained", "lost"))
    return PairedOutcome(problem_count=problem_count, gained=gained, lost=lost)


def _comparisons(context: StageContext, parent: str) -> list[dict[str, Any]]:
    """Every model the round made against each other, the champion it started from and the experiment's first model."""
    rows = context.query(
        "select * exclude (experiment) from int_paired_outcomes where experiment = $experiment "
        "and starts_with(model_id, $own) and (starts_with(baseline_id, $own) or baseline_id in ($parent, $first)) "
        "order by model_id, baseline_id, benchmark, split",
        own=f"{context.round_number}/",
        parent=parent,
        first=champion_before(context.store, context.slug, 1),
    )
    for row in rows:
        gained, lost, count = row["gained"], row["lost"], row["problem_count"]
        seed = derive_seed(context.recipe.seed, "bootstrap", row["model_id"], row["baseline_id"], row["split"])
        low, high = paired_bootstrap(gained, lost, count, seed=seed)
        row.update(difference=(gained - lost) / count, difference_low=low, difference_high=high)
    return rows
