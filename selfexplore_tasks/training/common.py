"""What SFT and DPO share: one run from a start model to a published folder, resumable and repeatable."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from selfexplore_tasks.engines.common import is_out_of_memory
from selfexplore_tasks.failures import batch_divisor
from selfexplore_tasks.loading import LOADING
from selfexplore_tasks.recipe import Training
from selfexplore_tasks.training.attempt import Build, attempt
from selfexplore_tasks.training.data import OnProgress, TrainingResult
from selfexplore_tasks.training.device import release_memory, smaller_micro_batch, torch_settings
from selfexplore_tasks.training.job import Job
from selfexplore_tasks.training.launcher import train_in_processes
from selfexplore_tasks.training.layout import SINGLE
from selfexplore_tasks.training.partial import LOG_NAME, PartialRun, read_log, recover_replaced
from selfexplore_tasks.training.reporters import end_reports


def run_training(job: Job, examples: Sequence[Any], build: Build, on_progress: OnProgress | None) -> TrainingResult:
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
    allowed = allowed_micro_batch(settings, job.share)
    partial = PartialRun.open(job.output_dir, job.partial_fingerprint, allowed)
    if partial.micro_batch_size > allowed:
        partial.remember(allowed)
    log_history = _train_within_memory(job, partial, examples, build, on_progress)
    end_reports(job.reporting.names)
    result = _result(job, log_history, time.monotonic() - started)
    log = {"fingerprint": job.fingerprint, "settings": settings.model_dump(), "seed": job.seed}
    (partial.final_dir / LOG_NAME).write_text(json.dumps({**log, "result": result.as_json()}, indent=1))
    partial.publish()
    return result


def allowed_micro_batch(settings: Training, share: int) -> int:
    """The recipe's micro-batch, or a smaller divisor of a process's share after a try that ran out of memory."""
    size = min(settings.micro_batch_size, share)
    for _ in range(batch_divisor().bit_length() - 1):
        size = size if size == 1 else smaller_micro_batch(size, share)
    return size


def _train_within_memory(
    job: Job, partial: PartialRun, examples: Sequence[Any], build: Build, on_progress: OnProgress | None
) -> list[dict[str, float]]:
    train = _train_here if job.layout == SINGLE else train_in_processes
    while True:
        try:
            return train(job, partial, examples, build, on_progress)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block: the traceback would keep the failed attempt's tensors alive.
        partial.remember(smaller_micro_batch(partial.micro_batch_size, job.share))
        release_memory()


def _train_here(
    job: Job, partial: PartialRun, examples: Sequence[Any], build: Build, on_progress: OnProgress | None
) -> list[dict[str, float]]:
    with LOADING.timed("training"):
        from selfexplore_tasks.training import trainers  # noqa: F401
    with torch_settings(job.threads):
        return attempt(job, partial, examples, build, on_progress)


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
