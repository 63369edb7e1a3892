"""Summarize: accuracy with intervals, the promotion decision, and the round in one row.

Promotion here is the plain rule: the candidate replaces the champion if its dev accuracy is higher. Test accuracy
is reported and never decides.
"""

from __future__ import annotations

from typing import Any

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.store.experiments import champion_before
from selfexplore_tasks.store.manifests import Manifest

SCORES_OF_ROUND = (
    "select * from int_scores where experiment = $experiment and round = $round order by model_id, benchmark, split"
)


def run(context: StageContext) -> Manifest:
    """Write `scores` and `rounds`; the notes carry champion, promotion and stop reason for whoever comes next."""
    measured = context.query(SCORES_OF_ROUND)
    parent = champion_before(context.store, context.slug, context.round_number) if context.round_number else None
    candidate = str(context.manifest("dpo" if context.round_number else "sft").notes["model_id"])
    promoted = parent is None or is_better(dev_accuracy(context, candidate), dev_accuracy(context, parent))
    champion = candidate if promoted or parent is None else parent
    scores = [{**_without_keys(row), "promoted": promoted and row["model_id"] == candidate} for row in measured]
    round_row = {
        "parent": parent,
        "candidate": candidate,
        "promoted": promoted,
        "champion": champion,
        "alarms": [],
        "stop_reason": _stop_reason(context),
        **_totals(context),
    }
    parts = {"scores": [context.write_rows("scores", scores)], "rounds": [context.write_rows("rounds", [round_row])]}
    for row in scores:
        print(
            f"summarize: {row['model_id']:>9} {row['benchmark']} {row['split']:>4} "
            f"{100 * row['accuracy']:.1f}% [{100 * row['accuracy_low']:.1f}, {100 * row['accuracy_high']:.1f}] "
            f"of {row['problem_count']}{' promoted' if row['promoted'] else ''}",
            flush=True,
        )
    notes = {
        "candidate": candidate,
        "champion": champion,
        "promoted": promoted,
        "stop_reason": None,  # max_rounds is the recipe's and may grow: whoever plans the next round looks there
    }
    return context.commit(parts, row_counts={"scores": len(scores), "rounds": 1}, notes=notes)


def is_better(candidate_accuracy: float | None, champion_accuracy: float | None) -> bool:
    """The plain promotion rule on dev accuracy; a model that was never measured is not better."""
    if candidate_accuracy is None or champion_accuracy is None:
        return False
    return candidate_accuracy > champion_accuracy


def dev_accuracy(context: StageContext, model_id: str) -> float | None:
    """Share of the dev problems that a model solves, over all benchmarks; None if it was not evaluated."""
    rows = context.query(
        "select sum(accuracy * problem_count) / sum(problem_count) as accuracy from int_scores "
        "where experiment = $experiment and model_id = $model_id and split = 'dev'",
        model_id=model_id,
    )
    value = rows[0]["accuracy"]
    return None if value is None else float(value)


def _stop_reason(context: StageContext) -> str | None:
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
