"""Direct preference optimisation on granular pairs (method, step 9)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selfexplore_tasks.recipe import Dpo
from selfexplore_tasks.training.attempt import lora_config
from selfexplore_tasks.training.common import run_training
from selfexplore_tasks.training.data import NO_REPORTS, OnProgress, PreferenceExample, Reporting, TrainingResult
from selfexplore_tasks.training.device import use_one_gpu
from selfexplore_tasks.training.job import Job, make_job
from selfexplore_tasks.training.layout import SINGLE, Layout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

    from selfexplore_tasks.training.trainers import StepDPOTrainer


def train_dpo(
    *,
    model_dir: Path,
    output_dir: Path,
    examples: Sequence[PreferenceExample],
    settings: Dpo,
    seed: int,
    threads: int,
    reference_dir: Path | None = None,
    on_progress: OnProgress | None = None,
    reporting: Reporting = NO_REPORTS,
    layout: Layout = SINGLE,
) -> TrainingResult:
    """Train the model in ``model_dir`` on preference pairs into ``output_dir``.

    The reference is the model in ``reference_dir`` (same tokenizer), None: the start model itself. Its log-probs are
    computed once before the first step. Pairs whose prompt with the longer answer exceeds ``settings.max_length`` are
    left out and counted. The log has ``rewards/chosen``, ``rewards/rejected``, ``rewards/margins``,
    ``rewards/accuracies``, ``logps/chosen``, ``logps/rejected`` (nats) and ``logps/chosen_change`` (nats, against the
    reference), all from before the step's update; the last line has ``trained/logps/chosen_change`` too, from after it.
    Raises NothingToTrain (a UserError) when no pair is left, UserError when not even one fits in memory or a
    reporter of ``reporting`` is not installed.
    """
    job, kept = make_job(
        kind="dpo",
        model_dir=model_dir,
        output_dir=output_dir,
        examples=examples,
        settings=settings,
        seed=seed,
        threads=threads,
        reporting=reporting,
        layout=layout,
        reference_dir=reference_dir,
    )

    return run_training(job, kept, dpo_trainer, on_progress)


def dpo_trainer(
    job: Job,
    examples: Sequence[PreferenceExample],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    arguments: dict[str, Any],
    callbacks: list[TrainerCallback],
) -> StepDPOTrainer:
    """Return the trainer over the pairs' token ids as they are."""
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig

    from selfexplore_tasks.training.trainers import StepDPOTrainer

    settings = cast(Dpo, job.settings)
    columns = {
        "prompt_ids": [list(e.prompt_ids) for e in examples],
        "chosen_ids": [list(e.chosen_ids) for e in examples],
        "rejected_ids": [list(e.rejected_ids) for e in examples],
    }
    config = DPOConfig(
        **arguments,
        beta=settings.beta,
        loss_type=[settings.loss, *(["sft"] if settings.sft_weight else [])],
        loss_weights=[1.0, *([settings.sft_weight] if settings.sft_weight else [])],
        label_smoothing=settings.label_smoothing,
        f_divergence_type="reverse_kl",
        discopop_tau=0.05,
        max_length=settings.max_length,
        truncation_mode="keep_start",
        disable_dropout=True,
        precompute_ref_log_probs=True,
    )
    use_one_gpu(config)
    return StepDPOTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict(columns),
        processing_class=tokenizer,
        callbacks=callbacks,
        peft_config=lora_config(settings),
        order=job.order,
        reference_dir=job.reference_dir,
    )
