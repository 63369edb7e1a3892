"""One attempt at a training run, from the last checkpoint to the finished model; what both trainers are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.loading import LOADING
from selfexplore_tasks.recipe import Training
from selfexplore_tasks.training.data import OnProgress
from selfexplore_tasks.training.device import uses_bfloat16
from selfexplore_tasks.training.job import Job
from selfexplore_tasks.training.partial import PartialRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback

LOG_LINES = 50
CHECKPOINTS = 5

Build = Callable[
    [Job, Sequence[Any], "PreTrainedModel", "PreTrainedTokenizerBase", dict[str, Any], list["TrainerCallback"]],
    "Trainer",
]
"""Makes the trainer from the job, its examples, the start model, its tokenizer, the training arguments and the
callbacks; a function of a module, so that other processes find it by its name."""


def attempt(
    job: Job, partial: PartialRun, examples: Sequence[Any], build: Build, on_progress: OnProgress | None
) -> list[dict[str, float]]:
    """Train from the last checkpoint to the end, in this process, which may be one of several; return the log.

    The model is written to ``partial.final_dir``, by the first process only.
    """
    from transformers import PrinterCallback

    from selfexplore_tasks.training.trainers import ProgressReporter

    reporter = ProgressReporter(on_progress, job.example_count / job.settings.batch_size)
    with LOADING.timed("training"):
        model, tokenizer = load_start(job.model_dir)
    use_cache = model.config.use_cache
    trainer = build(job, examples, model, tokenizer, training_arguments(job, partial), [reporter])
    trainer.remove_callback(PrinterCallback)
    checkpoint = partial.last_checkpoint()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    trained = _trained_model(job, trainer)
    if trained is not None:
        # Gradient checkpointing switches the cache off; an engine that reads this config needs it.
        trained.config.use_cache = use_cache
        trained.save_pretrained(partial.final_dir)
        # A fresh tokenizer: the trainer may have given its own one a padding token.
        load_tokenizer(job.model_dir).save_pretrained(partial.final_dir)
    return [dict(entry) for entry in trainer.state.log_history if "loss" in entry]


def _trained_model(job: Job, trainer: Trainer) -> Any | None:
    """The whole model with its adapters merged in, in the first process; None in the others."""
    accelerator: Any = trainer.accelerator
    is_sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    # Collective where the model is sharded: every process has to ask.
    state = accelerator.get_state_dict(trainer.model_wrapped) if is_sharded else None
    if not accelerator.is_main_process:
        return None
    if state is None:
        trained = accelerator.unwrap_model(trainer.model)
    else:
        trained, _ = load_start(job.model_dir)
        if job.settings.lora is not None:
            from peft import get_peft_model

            trained = get_peft_model(trained, lora_config(job.settings))
        trained.load_state_dict(state)
    return trained if job.settings.lora is None else trained.merge_and_unload()


def training_arguments(job: Job, partial: PartialRun) -> dict[str, Any]:
    """Return the arguments common to SFTConfig and DPOConfig; everything a library default could change is set."""
    import torch

    settings, total = job.settings, job.total_steps
    scheduler = settings.scheduler
    return {
        "output_dir": str(partial.folder),
        "max_steps": total,
        "per_device_train_batch_size": partial.micro_batch_size,
        "gradient_accumulation_steps": job.share // partial.micro_batch_size,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if scheduler == "constant" else scheduler,
        "warmup_steps": math.ceil(settings.warmup_ratio * total),
        "weight_decay": settings.weight_decay,
        "adam_beta2": settings.adam_beta2,
        "max_grad_norm": settings.max_grad_norm,
        "optim": settings.optimizer,
        "bf16": uses_bfloat16(settings),
        "gradient_checkpointing": settings.gradient_checkpointing,
        "use_cpu": not torch.cuda.is_available(),
        "ddp_find_unused_parameters": False,
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
