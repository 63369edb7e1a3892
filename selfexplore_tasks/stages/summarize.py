"""Summarize: accuracy with intervals, models compared with each other, the promotion decision, the round in one row.

Promotion here is the plain rule: the candidate replaces the champion if its dev accuracy is higher. Test accuracy
is reported and never decides.
"""

from __future__ import annotations

from typing import Any

from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.statistics import paired_bootstrap
from selfexplore_tasks.stopping import is_better, missing_for_training
from selfexplore_tasks.store.experiments import champion_before
from selfexplore_tasks.store.manifests import Manifest

SCORES_OF_ROUND = (
    "select * from int_scores where experiment = $experiment and round = $round order by model_id, benchmark, split"
)


def run(context: StageContext) -> Manifest:
    """Write `scores`, `comparisons` and `rounds`; the notes tell whoever plans the next round."""
    measured = context.query(SCORES_OF_ROUND)
    parent = champion_before(context.store, context.slug, context.round_number) if context.round_number else None
    candidate = str(context.manifest("dpo" if context.round_number else "sft").notes["model_id"])
    promoted = parent is None or is_better(dev_accuracy(context, candidate), dev_accuracy(context, parent))
    champion = candidate if promoted or parent is None else parent
    scores = [{**_without_keys(row), "promoted": promoted and row["model_id"] == candidate} for row in measured]
    totals = _totals(context)
    missing = _missing(context, dict(totals["counts"]))
    round_row = {
        "parent": parent,
        "candidate": candidate,
        "promoted": promoted,
        "champion": champion,
        "alarms": _alarms(context),
        "stop_reason": missing or _last_round_reason(context),
        **totals,
    }
    comparisons = _comparisons(context, parent)
    parts = {
        "scores": [context.write_rows("scores", scores)],
        "comparisons": [context.write_rows("comparisons", comparisons)],
        "rounds": [context.write_rows("rounds", [round_row])],
    }
    for row in scores:
        print(
            f"summarize: {row['model_id']:>9} {row['benchmark']} {row['split']:>4} "
            f"{100 * row['accuracy']:.1f}% [{100 * row['accuracy_low']:.1f}, {100 * row['accuracy_high']:.1f}] "
            f"of {row['problem_count']}{' promoted' if row['promoted'] else ''}",
            flush=True,
        )
    if missing:
        print(f"summarize: the experiment ends here: {missing}", flush=True)
    notes = {
        "candidate": candidate,
        "champion": champion,
        "promoted": promoted,
        "stop_reason": missing,  # not max_rounds, which may grow: whoever plans the next round looks at the recipe
    }
    row_counts = {"scores": len(scores), "comparisons": len(comparisons), "rounds": 1}
    return context.commit(parts, row_counts=row_counts, notes=notes)


def dev_accuracy(context: StageContext, model_id: str) -> float | None:
    """Share of the dev problems that a model solves, over all benchmarks; None if it was not evaluated."""
    rows = context.query(
        "select sum(accuracy * problem_count) / sum(problem_count) as accuracy from int_scores "
        "where experiment = $experiment and model_id = $model_id and split = 'dev'",
        model_id=model_id,
    )
    value = rows[0]["accuracy"]
    return None if value is None else float(value)


def _comparisons(context: StageContext, parent: str | None) -> list[dict[str, Any]]:
    """Every model the round made against each other, the champion it started from and the experiment's first model."""
    if parent is None:
        return []
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


def _missing(context: StageContext, counts: dict[str, int]) -> str | None:
    if context.round_number == 0:
        return None
    skipped = {stage: "skipped" in context.manifest(stage).notes for stage in ("rft", "dpo")}
    return missing_for_training(counts, rft_skipped=skipped["rft"], dpo_skipped=skipped["dpo"])


def _alarms(context: StageContext) -> list[str]:
    if context.round_number == 0:
        return []
    return [alarm for stage in ("dpo", "arms") for alarm in context.manifest(stage).notes.get("alarms", [])]


def _last_round_reason(context: StageContext) -> str | None:
    planned = context.recipe.max_rounds
    return f"max_rounds={planned} reached" if context.round_number >= planned else None


def _without_keys(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("experiment", "round")}


def _totals(context: StageContext) -> dict[str, Any]:
    counts = context.query(
        "select name, count from int_round_counts where experiment = $experiment and round = $round order by name"
    )
    manifests = [context.manifest(stage) for stage in stages_of(context.round_number) if stage != "summarize"]
    return {
        "counts": [(row["name"], row["count"]) for row in counts],
        "tokens": [(manifest.stage, manifest.token_count) for manifest in manifests],
        "seconds": [(manifest.stage, manifest.seconds) for manifest in manifests],
    }
