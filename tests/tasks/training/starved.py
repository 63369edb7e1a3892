"""A trainer whose memory is too small for the recipe's micro-batch, found by name in the training processes."""

from __future__ import annotations

from typing import Any

import torch

from selfexplore_tasks.training.dpo import dpo_trainer


def starved_trainer(job: Any, examples: Any, model: Any, tokenizer: Any, arguments: Any, callbacks: Any) -> Any:
    """`dpo_trainer`, after an allocation that no machine has the memory for, unless micro-batches are single pairs."""
    if arguments["per_device_train_batch_size"] > 1:
        torch.empty(2**50)
    return dpo_trainer(job, examples, model, tokenizer, arguments, callbacks)
