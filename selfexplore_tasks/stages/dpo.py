"""DPO (method, step 9): train the explorer on the granular pairs; gives the round's policy."""

from __future__ import annotations

from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.supervised import TrainingProgress, training_notes
from selfexplore_tasks.store.manifests import Manifest


def run(context: StageContext) -> Manifest:
    """Train `<round>/policy`; without a single pair the explorer itself is the round's candidate."""
    from selfexplore_tasks.training.data import preference_example
    from selfexplore_tasks.training.dpo import train_dpo

    pairs = context.query(
        "select question, prefix, chosen, rejected from int_training_pairs "
        "where experiment = $experiment and round = $round order by pair_id"
    )
    if not pairs:
        print("dpo: no granular pair was kept, the explorer stays as it is", flush=True)
        return context.commit(
            {}, row_counts={"pairs": 0}, notes={"model_id": context.explorer_id, "skipped": "no pairs"}
        )
    prompts = context.prompts(context.explorer_id)
    examples = [
        preference_example(
            prompts.prompt_ids(pair["question"], pair["prefix"]),
            prompts.completion_ids(pair["question"], pair["prefix"], pair["chosen"]),
            prompts.completion_ids(pair["question"], pair["prefix"], pair["rejected"]),
            prompts.eos_token_id,
        )
        for pair in pairs
    ]
    model_id = f"{context.round_number}/policy"
    with TrainingProgress("dpo") as progress:
        result = train_dpo(
            model_dir=context.model_path(context.explorer_id),
            output_dir=context.store.model_dir(context.slug, model_id),
            examples=examples,
            settings=context.recipe.dpo,
            seed=derive_seed(context.recipe.seed, "dpo", context.round_number),
            threads=context.threads,
            on_progress=progress.update,
        )
    return context.commit(
        {},
        row_counts={"pairs": len(pairs), "too_long": result.too_long_count},
        token_count=result.token_count,
        notes={"model_id": model_id, "start_model_id": context.explorer_id, **training_notes(result)},
    )
