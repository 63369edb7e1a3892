"""Arms (``compare: true``): what else could have been trained from the same explorer, for as many optimiser steps.

Beside the policy (DPO on granular pairs) two models are trained: ``<round>/outcome_dpo`` on the outcome pairs that the
exploration started from, and ``<round>/continued_rft`` on the round's RFT set. Neither can be promoted. Alarms of the
outcome arm stand in the notes under its name; none of them is fatal.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.dpo import train_on_pairs, training_pairs
from selfexplore_tasks.stages.rft import rft_rows
from selfexplore_tasks.stages.supervised import FineTuning, fine_tune, training_notes
from selfexplore_tasks.store.manifests import Manifest

if TYPE_CHECKING:
    from selfexplore_tasks.recipe import ContinuedRftArm, OutcomeArm
    from selfexplore_tasks.training.data import TrainingResult


def run(context: StageContext) -> Manifest:
    """Train both arms; nothing where the recipe does not compare or the round trained no policy."""
    steps = context.manifest("dpo").notes.get("steps")
    if not context.recipe.compare or steps is None:
        reason = "the round trained no policy" if context.recipe.compare else "compare: false"
        print(f"arms: nothing to compare ({reason})", flush=True)
        return context.commit({}, row_counts={"models": 0}, notes={"models": []})
    from selfexplore_tasks.training.data import NothingToTrain

    trained: dict[str, TrainingResult] = {}
    arms = context.recipe.arms
    for name, train in (
        ("continued_rft", partial(continue_rft, arm=arms.continued_rft)),
        ("outcome_dpo", partial(outcome_dpo, arm=arms.outcome_dpo)),
    ):
        model_id = f"{context.round_number}/{name}"
        try:
            trained[model_id] = train(context, model_id, steps)
        except NothingToTrain as nothing:
            print(f"arms: no {model_id}: {nothing}", flush=True)
    return context.commit(
        {},
        row_counts={"models": len(trained)},
        token_count=sum(result.token_count for result in trained.values()),
        notes={
            "models": list(trained),
            "start_model_id": context.explorer_id,
            "alarms": _alarms(context, trained.get(f"{context.round_number}/outcome_dpo")),
            **{model_id: training_notes(result) for model_id, result in trained.items()},
        },
    )


def continue_rft(context: StageContext, model_id: str, steps: int, arm: ContinuedRftArm) -> TrainingResult:
    """Go on training the explorer on its own RFT set."""
    task = FineTuning(
        rows=rft_rows(context),
        start_model_id=context.explorer_id,
        model_id=model_id,
        settings=context.recipe.rft.model_copy(update=_given(max_steps=steps, learning_rate=arm.learning_rate)),
        seed_parts=("continued_rft", context.round_number),
    )
    return fine_tune(context, task)


def outcome_dpo(context: StageContext, model_id: str, steps: int, arm: OutcomeArm) -> TrainingResult:
    """Train the explorer with DPO on the outcome pairs."""
    return train_on_pairs(
        context,
        training_pairs(context, "outcome"),
        model_id=model_id,
        settings=context.recipe.dpo.model_copy(
            update=_given(max_steps=steps, learning_rate=arm.learning_rate, beta=arm.beta)
        ),
        seed_parts=("outcome_dpo", context.round_number),
    )


def _alarms(context: StageContext, outcome: TrainingResult | None) -> list[str]:
    from selfexplore_tasks.training.alarms import AlarmWatch

    if outcome is None:
        return []
    watch = AlarmWatch("outcome_dpo", context.recipe.alarms.model_copy(update={"fatal": ()}))
    return [f"outcome_dpo {alarm}" for alarm in watch.finish(outcome)]


def _given(**values: Any) -> dict[str, Any]:
    """Leave out what is null: there the round's own setting holds."""
    return {name: value for name, value in values.items() if value is not None}
