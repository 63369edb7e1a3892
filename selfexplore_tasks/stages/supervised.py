"""What SFT, RFT and its continuation share: rationales become examples, the trainer runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.manifests import Manifest

if TYPE_CHECKING:
    from selfexplore_tasks.recipe import Training
    from selfexplore_tasks.training.data import Reporting, TrainingResult

KEPT_LOG_LINES = 100


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Supervised training of ``start_model_id`` on ``rows`` (question, text), which gives ``model_id``."""

    rows: Sequence[dict[str, Any]]
    start_model_id: str
    model_id: str
    settings: Training
    seed_parts: Sequence[str | int]


def train_and_commit(context: StageContext, task: FineTuning) -> Manifest:
    """Fine-tune and commit the stage."""
    result = fine_tune(context, task)
    return context.commit(
        {},
        row_counts={"examples": len(task.rows), "too_long": result.too_long_count},
        token_count=result.token_count,
        notes={"model_id": task.model_id, "start_model_id": task.start_model_id, **training_notes(result)},
    )


def fine_tune(context: StageContext, task: FineTuning) -> TrainingResult:
    """Train the task's model into the experiment's folder of models."""
    from selfexplore_tasks.seeds import derive_seed
    from selfexplore_tasks.training.data import TrainingExample
    from selfexplore_tasks.training.layout import resolve_layout
    from selfexplore_tasks.training.sft import train_sft

    prompts = context.prompts(task.start_model_id)
    examples = [
        TrainingExample(
            prompts.prompt_ids(row["question"]),
            (*prompts.completion_ids(row["question"], "", row["text"]), prompts.eos_token_id),
        )
        for row in task.rows
    ]
    with TrainingProgress(task.model_id) as progress:
        return train_sft(
            model_dir=context.model_path(task.start_model_id),
            output_dir=context.store.model_dir(context.slug, task.model_id),
            examples=examples,
            settings=task.settings,
            seed=derive_seed(context.recipe.seed, *task.seed_parts),
            threads=context.threads,
            on_progress=progress.update,
            reporting=reporting(context, task.model_id),
            layout=resolve_layout(context.recipe.accelerate),
        )


def reporting(context: StageContext, model_id: str) -> Reporting:
    """Where the recipe wants a training run reported, under the name ``<experiment>/<model id>``."""
    from selfexplore_tasks.training.data import Reporting

    return Reporting(context.recipe.report_to, f"{context.slug}/{model_id}")


class TrainingProgress:
    """Adapts a trainer's callback to `Progress`, whose total is known with the first step only."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._progress: Any = None
        self._step = 0

    def update(self, step: int, total: int, logs: dict[str, float]) -> None:
        from selfexplore_tasks.progress import Progress

        if self._progress is None:
            self._progress = Progress(self._label, total, "steps", step - 1).__enter__()
            self._step = step - 1
        note = f"loss {logs['loss']:.4f}" if "loss" in logs else ""
        self._progress.advance(step - self._step, note)
        self._step = step

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._progress is not None:
            self._progress.__exit__(*error)


def training_notes(result: TrainingResult) -> dict[str, Any]:
    """What a manifest keeps of a training run: steps, final metrics and an evenly thinned loss curve."""
    stride = max(1, len(result.log_history) // KEPT_LOG_LINES)
    return {
        "steps": result.step_count,
        "metrics": _json_numbers(result.metrics),
        "log": [_json_numbers(line) for line in result.log_history[::stride]],
    }


def _json_numbers(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN: what is not a number becomes null."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
