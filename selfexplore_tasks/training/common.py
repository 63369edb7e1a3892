"""What SFT and DPO share: one run from a start model to a published folder, resumable and repeatable."""

from __future__ import annotations

import hashlib
import json
import math
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from selfexplore_tasks.engines.common import is_out_of_memory, weight_files
from selfexplore_tasks.failures import batch_divisor
from selfexplore_tasks.recipe import Training
from selfexplore_tasks.training.data import (
    NO_REPORTS,
    NothingToTrain,
    OnProgress,
    PreferenceExample,
    Reporting,
    TrainingExample,
    TrainingResult,
)
from selfexplore_tasks.training.device import release_memory, smaller_micro_batch, torch_settings
from selfexplore_tasks.training.order import step_count, training_order
from selfexplore_tasks.training.partial import LOG_NAME, PartialRun, read_log, recover_replaced
from selfexplore_tasks.training.reporters import check_reporters, end_reports

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback

Example = TypeVar("Example", TrainingExample, PreferenceExample)

LOG_LINES = 50
CHECKPOINTS = 5


@dataclass(frozen=True)
class Job:
    """One training run, fully determined: the same job on the same machine gives the same weights (CPU)."""

    model_dir: Path
    output_dir: Path
    settings: Training
    seed: int
    threads: int
    reporting: Reporting
    reference_dir: Path | None
    fingerprint: str
    order: list[int]
    example_count: int
    too_long_count: int
    token_count: int

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the run."""
        return step_count(self.order, self.settings.batch_size)


Build = Callable[["PreTrainedModel", "PreTrainedTokenizerBase", dict[str, Any], list["TrainerCallback"]], "Trainer"]
"""Makes the trainer from the start model, its tokenizer, the training arguments and the callbacks."""


def make_job(
    *,
    kind: str,
    model_dir: Path,
    output_dir: Path,
    examples: Sequence[Example],
    settings: Training,
    seed: int,
    threads: int,
    reporting: Reporting = NO_REPORTS,
    reference_dir: Path | None = None,
) -> tuple[Job, list[Example]]:
    """Return the job and the examples that fit ``settings.max_length``.

    ``reference_dir`` holds the reference model of DPO; None takes the start model.
    Raises NothingToTrain when none is left, UserError when a reporter is not installed.
    """
    check_reporters(reporting.names)
    kept = [example for example in examples if example.longest <= settings.max_length]
    too_long_count = len(examples) - len(kept)
    if not kept:
        raise NothingToTrain(_nothing_left(kind, output_dir, too_long_count, settings.max_length))
    lengths = [example.longest for example in kept]
    epochs = settings.epochs
    if settings.max_steps is not None:
        epochs = settings.max_steps * settings.batch_size / len(lengths)
    order = training_order(lengths, settings.batch_size, epochs, seed)
    job = Job(
        model_dir=model_dir,
        output_dir=output_dir,
        settings=settings,
        seed=seed,
        threads=threads,
        reporting=reporting,
        reference_dir=reference_dir,
        fingerprint=_fingerprint(
            kind, [model_dir, *([reference_dir] if reference_dir else [])], examples, settings, seed
        ),
        order=order,
        example_count=len(kept),
        too_long_count=too_long_count,
        token_count=sum(kept[index].token_count for index in order),
    )
    return job, kept


def run_training(job: Job, build: Build, on_progress: OnProgress | None) -> TrainingResult:
    """Train, resuming where a killed run of the same job stopped, and publish ``job.output_dir``.

    A folder that this very job has already published is left as it is and its log returned. When memory runs
    out the micro-batch is halved and training goes on from the last checkpoint, at the same effective batch.
    """
    started = time.monotonic()
    recover_replaced(job.output_dir)
    finished = read_log(job.output_dir, job.fingerprint)
    if finished is not None:
        return TrainingResult(**finished["result"])
    settings = job.settings
    allowed = allowed_micro_batch(settings)
    partial = PartialRun.open(job.output_dir, job.fingerprint, allowed)
    if partial.micro_batch_size > allowed:
        partial.remember(allowed)
    with torch_settings(job.threads):
        log_history = _train_within_memory(job, partial, build, on_progress)
    end_reports(job.reporting.names)
    result = _result(job, log_history, time.monotonic() - started)
    log = {"fingerprint": job.fingerprint, "settings": settings.model_dump(), "seed": job.seed}
    (partial.final_dir / LOG_NAME).write_text(json.dumps({**log, "result": result.as_json()}, indent=1))
    partial.publish()
    return result


def allowed_micro_batch(settings: Training) -> int:
    """The recipe's micro-batch, or a smaller divisor of the batch after a try that ran out of memory."""
    size = min(settings.micro_batch_size, settings.batch_size)
    for _ in range(batch_divisor().bit_length() - 1):
        size = size if size == 1 else smaller_micro_batch(size, settings.batch_size)
    return size


def _train_within_memory(
    job: Job, partial: PartialRun, build: Build, on_progress: OnProgress | None
) -> list[dict[str, float]]:
    while True:
        try:
            return _attempt(job, partial, build, on_progress)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block: the traceback would keep the failed attempt's tensors alive.
        partial.remember(smaller_micro_batch(partial.micro_batch_size, job.settings.batch_size))
        release_memory()


def _attempt(job: Job, partial: PartialRun, build: Build, on_progress: OnProgress | None) -> list[dict[str, float]]:
    from transformers import PrinterCallback

    from selfexplore_tasks.training.trainers import ProgressReporter

    reporter = ProgressReporter(on_progress, job.example_count / job.settings.batch_size)
    model, tokenizer = load_start(job.model_dir)
    use_cache = model.config.use_cache
    trainer = build(model, tokenizer, training_arguments(job, partial), [reporter])
    trainer.remove_callback(PrinterCallback)
    checkpoint = partial.last_checkpoint()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    trained = trainer.accelerator.unwrap_model(trainer.model)
    if job.settings.lora is not None:
        trained = trained.merge_and_unload()
    # Gradient checkpointing switches the cache off; an engine that reads this config needs it.
    trained.config.use_cache = use_cache
    trained.save_pretrained(partial.final_dir)
    # A fresh tokenizer: the trainer may have given its own one a padding token.
    load_tokenizer(job.model_dir).save_pretrained(partial.final_dir)
    return [dict(entry) for entry in trainer.state.log_history if "loss" in entry]


def training_arguments(job: Job, partial: PartialRun) -> dict[str, Any]:
    """Return the arguments common to SFTConfig and DPOConfig; everything a library default could change is set."""
    import torch

    settings, total = job.settings, job.total_steps
    scheduler = settings.scheduler
    return {
        "output_dir": str(partial.folder),
        "max_steps": total,
        "per_device_train_batch_size": partial.micro_batch_size,
        "gradient_accumulation_steps": settings.batch_size // partial.micro_batch_size,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if scheduler == "constant" else scheduler,
        "warmup_steps": math.ceil(settings.warmup_ratio * total),
        "weight_decay": settings.weight_decay,
        "adam_beta2": settings.adam_beta2,
        "max_grad_norm": settings.max_grad_norm,
        "optim": settings.optimizer,
        "bf16": settings.precision == "bfloat16",
        "gradient_checkpointing": settings.gradient_checkpointing,
        "use_cpu": not torch.cuda.is_available(),
        "seed": job.seed,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_steps": max(1, total // LOG_LINES),
        "logging_nan_inf_filter": False,
        "save_steps": max(1, math.ceil(total / CHECKPOINTS)),
        "save_total_limit": 1,
        "disable_tqdm": True,
        "report_to": list(job.reporting.names),
        "run_name": job.reporting.run_name,
    }


def load_start(model_dir: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the start model in float32 (mixed precision is the trainer's) and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, local_files_only=True)
    return model, load_tokenizer(model_dir)


def load_tokenizer(model_dir: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a local model folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_dir, local_files_only=True)


def lora_config(settings: Training) -> Any | None:
    """Return peft's configuration of the adapters (every linear layer but the head), or None."""
    if settings.lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def _result(job: Job, log_history: list[dict[str, float]], seconds: float) -> TrainingResult:
    metrics = dict(log_history[-1]) if log_history else {}
    if log_history:
        metrics["loss_mean"] = sum(entry["loss"] for entry in log_history) / len(log_history)
    return TrainingResult(
        step_count=job.total_steps,
        token_count=job.token_count,
        seconds=seconds,
        example_count=job.example_count,
        too_long_count=job.too_long_count,
        log_history=log_history,
        metrics=metrics,
    )


def _nothing_left(kind: str, output_dir: Path, too_long_count: int, max_length: int) -> str:
    name = f"the {kind} set for {output_dir.name}"
    if too_long_count:
        return f"{name} is empty: all {too_long_count} examples exceed max_length={max_length} tokens; raise max_length"
    return f"{name} is empty: the stage before it gave nothing to train on"


def _fingerprint(
    kind: str,
    model_dirs: Sequence[Path],
    examples: Sequence[TrainingExample | PreferenceExample],
    settings: Training,
    seed: int,
) -> str:
    """Hash everything that decides the weights; threads are left out, they only move the last bits."""
    digest = hashlib.sha256(json.dumps([kind, settings.model_dump(), seed], sort_keys=True).encode())
    for path in (path for model_dir in model_dirs for path in weight_files(model_dir)):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for example in examples:
        for ids in vars(example).values():
            digest.update(len(ids).to_bytes(8, "little"))
            digest.update(array("q", ids).tobytes())
    return digest.hexdigest()
