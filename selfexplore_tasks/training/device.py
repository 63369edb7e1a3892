"""Threads, determinism and memory of the machine a run trains on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Training


def smaller_micro_batch(micro_batch_size: int, batch_size: int) -> int:
    """Return the largest divisor of ``batch_size`` that is at most half of ``micro_batch_size``.

    Raises UserError when one example at a time does not fit.
    """
    if micro_batch_size <= 1:
        raise UserError(
            "training ran out of memory with one example at a time: set gradient_checkpointing: true or lora, "
            "lower max_length, or take a smaller model"
        )
    return next(size for size in range(micro_batch_size // 2, 0, -1) if batch_size % size == 0)


@contextmanager
def torch_settings(threads: int) -> Iterator[None]:
    """Fix threads and, on the CPU, deterministic kernels, without progress bars; then put back what was there."""
    import torch
    from transformers.utils import logging

    deterministic: Any = torch.utils.deterministic
    progress: Any = logging

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fill_before = deterministic.fill_uninitialized_memory
    bars_before = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    torch.set_num_threads(threads)
    # On a GPU this would need CUBLAS_WORKSPACE_CONFIG before CUDA starts, and slower kernels: not promised there.
    torch.use_deterministic_algorithms(not torch.cuda.is_available())
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        deterministic.fill_uninitialized_memory = fill_before
        if bars_before:
            progress.enable_progress_bar()


def uses_bfloat16(settings: Training) -> bool:
    """Whether a run computes in bfloat16: where the recipe says so, or leaves it to a GPU that has it."""
    import torch

    if settings.precision == "auto":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return settings.precision == "bfloat16"


def release_memory() -> None:
    """Give back what a failed attempt held, on the host and on the GPU."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def use_one_gpu(arguments: Any) -> None:
    """Train on one of several visible GPUs: TRL refuses the DataParallel that the trainer would choose."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
