"""What both trainers share: a fixed order of examples, dealt out to processes, with the same sums as in one process.

Written against transformers 5.16 to 5.19: the loop takes a plain DataLoader, counts a step's items through
`_get_num_items_in_batch`, and leaves a loss as it is where `loss_is_scaled_for_ga` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader, Sampler

from selfexplore_tasks.training.order import micro_batches

ROW_COUNT = "row_count"
"""Key of a batch that holds its number of examples; 0 = padding, for a process that has nothing left in a step."""


class MicroBatches(Sampler[list[int]]):
    """Yields the micro-batches it was given: the run's order is decided in `training.order`, not by global state."""

    def __init__(self, batches: Sequence[list[int]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


class InOrder:
    """Mixin for a Trainer: trains in ``order``, writes no model card beside checkpoints and sends no telemetry."""

    order: Sequence[int]

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return this process's micro-batches; all processes together see each step's batch, and it only."""
        trainer: Any = self
        args = trainer.args
        batches = micro_batches(
            self.order,
            args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size,
            args.per_device_train_batch_size,
            process=args.process_index,
            processes=args.world_size,
        )
        dataset: Any = trainer._remove_unused_columns(trainer.train_dataset, description="Training")
        return DataLoader(
            dataset,
            batch_sampler=MicroBatches(batches),
            collate_fn=lambda rows: self._collate(rows, dataset),
            pin_memory=args.dataloader_pin_memory,
        )

    def _collate(self, rows: list[dict[str, Any]], dataset: Dataset) -> dict[str, Any]:
        trainer: Any = self
        # Every process must go through the model equally often, or the others would wait for it for ever.
        batch = trainer.data_collator(rows or [dataset[0]])
        return {**batch, ROW_COUNT: torch.tensor(len(rows))}

    def item_count(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return what the loss of a step is averaged over: the items of one micro-batch."""
        raise NotImplementedError

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        """Return the items of a whole step, over all its micro-batches and processes."""
        trainer: Any = self
        counts = torch.stack([self.item_count(batch) for batch in batch_samples])
        total: torch.Tensor = trainer.accelerator.gather(counts.sum().reshape(1).to(device)).sum()
        return total

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write nothing: a checkpoint is no model to publish."""

    def _send_telemetry(self) -> None:
        """Send nothing."""
