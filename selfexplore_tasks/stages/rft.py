"""RFT (method, step 5): fine-tune on the RFT set; gives the explorer of the round."""

from __future__ import annotations

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.supervised import train_on_rationales
from selfexplore_tasks.store.manifests import Manifest


def run(context: StageContext) -> Manifest:
    """Train `<round>/rft` from the base model, or from the champion where the recipe says so for later rounds."""
    settings = context.recipe.rft
    if context.skips_rft:
        print("rft: the explorer is the champion itself (rft.later_rounds: skip)", flush=True)
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
    rows = context.query("select question, text from int_rft_set where experiment = $experiment and round = $round")
    return train_on_rationales(
        context,
        rows=rows,
        start_model_id=start,
        model_id=context.explorer_id,
        settings=settings,
        seed_parts=("rft", context.round_number),
    )
