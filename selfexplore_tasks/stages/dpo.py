"""DPO (method, step 9): train the explorer on the granular pairs; gives the round's policy.

The notes hold ``alarms``, a list of "name: sentence" (`training.alarms`); a fatal one ends the stage uncommitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.supervised import TrainingProgress, reporting, training_notes
from selfexplore_tasks.store.manifests import Manifest

if TYPE_CHECKING:
    from selfexplore_tasks.recipe import Dpo
    from selfexplore_tasks.training.data import OnProgress, PreferenceExample, TrainingResult


def run(context: StageContext) -> Manifest:
    """Train `<round>/policy`; without a single pair that fits, the explorer itself is the round's candidate."""
    from selfexplore_tasks.training.alarms import AlarmWatch
    from selfexplore_tasks.training.data import NothingToTrain

    pairs = training_pairs(context, "granular")
    if not pairs:
        return _keep_explorer(context, 0, "no granular pair was kept")
    model_id = f"{context.round_number}/policy"
    watch = AlarmWatch("dpo", context.recipe.alarms)
    try:
        result = train_on_pairs(
            context,
            pairs,
            model_id=model_id,
            settings=context.recipe.dpo,
            seed_parts=("dpo", context.round_number),
            on_progress=watch.update,
        )
    except NothingToTrain as nothing:
        return _keep_explorer(context, len(pairs), str(nothing))
    alarms = watch.finish(result)
    return context.commit(
        {},
        row_counts={"pairs": len(pairs), "too_long": result.too_long_count},
        token_count=result.token_count,
        notes={
            "model_id": model_id,
            "start_model_id": context.explorer_id,
            "alarms": alarms,
            **training_notes(result),
        },
    )


def _keep_explorer(context: StageContext, too_long_count: int, reason: str) -> Manifest:
    """Commit a stage that trained nothing, because no pair was kept or all are too long."""
    print(f"dpo: {reason}; the explorer stays as it is", flush=True)
    return context.commit(
        {},
        row_counts={"pairs": too_long_count, "too_long": too_long_count},
        notes={"model_id": context.explorer_id, "skipped": reason},
    )


def training_pairs(context: StageContext, kind: str) -> list[dict[str, Any]]:
    """The round's kept pairs of a kind (`granular` or `outcome`): kind, question, prefix, chosen and rejected."""
    return context.query(
        "select kind, question, prefix, chosen, rejected from int_training_pairs "
        "where experiment = $experiment and round = $round and kind = $kind order by pair_id",
        kind=kind,
    )


def train_on_pairs(
    context: StageContext,
    pairs: Sequence[dict[str, Any]],
    *,
    model_id: str,
    settings: Dpo,
    seed_parts: Sequence[str | int],
    on_progress: OnProgress | None = None,
) -> TrainingResult:
    """Train the explorer on preference pairs into ``model_id``; ``dpo.reference`` says what it is pulled towards.

    Raises NothingToTrain when no pair fits ``settings.max_length``.
    """
    from selfexplore_tasks.training.dpo import train_dpo
    from selfexplore_tasks.training.layout import resolve_layout

    reference = context.generator_id if settings.reference == "previous_policy" else context.explorer_id
    with TrainingProgress(model_id) as progress:

        def report(step: int, total: int, logs: dict[str, float]) -> None:
            progress.update(step, total, logs)
            if on_progress is not None:
                on_progress(step, total, logs)

        return train_dpo(
            model_dir=context.model_path(context.explorer_id),
            reference_dir=context.model_path(reference) if reference != context.explorer_id else None,
            output_dir=context.store.model_dir(context.slug, model_id),
            examples=_examples(context, pairs, settings),
            settings=settings,
            seed=derive_seed(context.recipe.seed, *seed_parts),
            threads=context.threads,
            on_progress=report,
            reporting=reporting(context, model_id),
            layout=resolve_layout(context.recipe.accelerate),
        )


def _examples(context: StageContext, pairs: Sequence[dict[str, Any]], settings: Dpo) -> list[PreferenceExample]:
    from selfexplore_tasks.training.data import preference_example

    prompts = context.prompts(context.explorer_id)
    return [
        preference_example(
            prompts.prompt_ids(pair["question"], pair["prefix"]),
            prompts.completion_ids(pair["question"], pair["prefix"], pair["chosen"]),
            prompts.completion_ids(pair["question"], pair["prefix"], pair["rejected"]),
            prompts.eos_token_id,
            is_rejected_ended=settings.eos_on_complete_rejected and _is_rejected_complete(context, pair["kind"]),
        )
        for pair in pairs
    ]


def _is_rejected_complete(context: StageContext, kind: str) -> bool:
    """Whether a kind's rejected texts run to the end of a solution; a pit step is one step in the middle of it."""
    return kind == "outcome" or context.recipe.pairs.rejected == "remainder"
