"""RFT (method, step 5): fine-tune on the RFT set; gives the explorer of the round."""

from __future__ import annotations

from typing import Any

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.supervised import FineTuning, train_and_commit
from selfexplore_tasks.store.manifests import Manifest


def run(context: StageContext) -> Manifest:
    """Train `<round>/rft` from the base model or, where the recipe says so, from the model that sampled."""
    settings = context.recipe.rft
    if context.skips_rft:
        print("rft: the explorer is the model that sampled (rft.first_round or later_rounds: skip)", flush=True)
        return context.commit({}, row_counts={"examples": 0}, notes={"model_id": context.explorer_id})
    origin = settings.first_round if context.round_number == 1 else settings.later_rounds
    start = "0/base" if origin == "base" else context.generator_id
    if context.round_number > 1:
        settings = settings.model_copy(
            update={
                "epochs": settings.later_epochs or settings.epochs,
                "learning_rate": settings.later_learning_rate or settings.learning_rate,
            }
        )
    rows = rft_rows(context)
    if not rows:
        print("rft: no rationale to train on, the model that sampled stays as it is", flush=True)
        return context.commit(
            {}, row_counts={"examples": 0}, notes={"model_id": context.generator_id, "skipped": "no rationale"}
        )
    return train_and_commit(
        context,
        FineTuning(
            rows=rows,
            start_model_id=start,
            model_id=context.explorer_id,
            settings=settings,
            seed_parts=("rft", context.round_number),
        ),
    )


def rft_rows(context: StageContext) -> list[dict[str, Any]]:
    """The round's RFT set: question and text, in a fixed order."""
    return context.query("select question, text from int_rft_set where experiment = $experiment and round = $round")
