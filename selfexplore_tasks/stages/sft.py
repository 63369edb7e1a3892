"""SFT (round 0): fine-tune the base model on the gold rationales; gives the first generator."""

from __future__ import annotations

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.supervised import FineTuning, train_and_commit
from selfexplore_tasks.store.manifests import Manifest


def run(context: StageContext) -> Manifest:
    """Train `0/sft`; with `sft: null` the base model itself is the first generator."""
    settings = context.recipe.sft
    if settings is None:
        print("sft: the recipe starts from the model as it is (sft: null)", flush=True)
        return context.commit({}, row_counts={"examples": 0}, notes={"model_id": "0/base"})
    rows = [
        {"question": problem.question, "text": problem.gold_rationale}
        for problem in context.problems("train")
        if problem.gold_rationale is not None
    ]
    return train_and_commit(
        context,
        FineTuning(rows=rows, start_model_id="0/base", model_id="0/sft", settings=settings, seed_parts=("sft",)),
    )
