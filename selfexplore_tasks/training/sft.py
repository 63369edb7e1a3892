"""Supervised fine-tuning (method, steps 1 and 5): the loss is taken on the completion only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.recipe import Training
from selfexplore_tasks.training.attempt import lora_config
from selfexplore_tasks.training.common import run_training
from selfexplore_tasks.training.data import (
    IGNORED_LABEL,
    NO_REPORTS,
    OnProgress,
    Reporting,
    TrainingExample,
    TrainingResult,
)
from selfexplore_tasks.training.device import use_one_gpu
from selfexplore_tasks.training.job import Job, make_job
from selfexplore_tasks.training.layout import SINGLE, Layout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

    from selfexplore_tasks.training.trainers import CompletionTrainer


def train_sft(
    *,
    model_dir: Path,
    output_dir: Path,
    examples: Sequence[TrainingExample],
    settings: Training,
    seed: int,
    threads: int,
    on_progress: OnProgress | None = None,
    reporting: Reporting = NO_REPORTS,
    layout: Layout = SINGLE,
) -> TrainingResult:
    """Fine-tune the model in ``model_dir`` on ``examples`` and publish it as ``output_dir``.

    Examples longer than ``settings.max_length`` are left out and counted. They are not packed: without FlashAttention
    they would see each other. Raises NothingToTrain (a UserError) when no example is left, UserError when not even
    one fits in memory or a reporter of ``reporting`` is not installed.
    """
    job, kept = make_job(
        kind="sft",
        model_dir=model_dir,
        output_dir=output_dir,
        examples=examples,
        settings=settings,
        seed=seed,
        threads=threads,
        reporting=reporting,
        layout=layout,
    )

    return run_training(job, kept, sft_trainer, on_progress)


def sft_trainer(
    job: Job,
    examples: Sequence[TrainingExample],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    arguments: dict[str, Any],
    callbacks: list[TrainerCallback],
) -> CompletionTrainer:
    """Return the trainer over ready labels: TRL's preparation is skipped, nothing is appended or cut."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig

    from selfexplore_tasks.training.trainers import CompletionTrainer

    labels = [[IGNORED_LABEL] * len(e.prompt_ids) + list(e.completion_ids) for e in examples]
    input_ids = [[*e.prompt_ids, *e.completion_ids] for e in examples]
    config = SFTConfig(
        **arguments,
        loss_type="nll",
        max_length=None,
        packing=False,
        padding_free=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    use_one_gpu(config)
    return CompletionTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict({"input_ids": input_ids, "labels": labels}),
        processing_class=tokenizer,
        callbacks=callbacks,
        peft_config=lora_config(job.settings),
        order=job.order,
    )
