"""TRL's trainers as we use them. Importing this module imports torch, transformers and TRL (about 5 s).

Written against TRL 1.16: ``SFTTrainer`` takes ``labels`` as they are when its preparation is skipped;
``DPOTrainer`` has no such way in, so its preparation and the pass for the reference log-probs are overridden.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch.utils.data import Sampler
from transformers import AutoModelForCausalLM, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_trainer import SFTTrainer

from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.training.data import IGNORED_LABEL, OnProgress
from selfexplore_tasks.training.partial import REFERENCE_NAME, read_json

PREFERENCE_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")


class FixedOrder(Sampler[int]):
    """Yields the indices it was given: the run's order is decided in `training.order`, not by global state."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = order

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)


class _FixedOrderMixin:
    """Trains in a given order, writes no model card beside checkpoints and sends no telemetry."""

    order: Sequence[int]

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        return FixedOrder(self.order)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write nothing: a checkpoint is no model to publish."""

    def _send_telemetry(self) -> None:
        """Send nothing."""


def target_log_probs(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, is_target: torch.Tensor
) -> torch.Tensor:
    """Return the log-probability (nats, float32) of every target token, flat, in row order.

    All arguments are (batch, length). The head is applied in front of target tokens only: on a small model on
    the CPU, logits of prompts and padding would be a third of a step. The first token of a row is never a target.
    """
    is_predicted = is_target[:, 1:].bool()
    inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    # Selecting in front of the head leaves what a model does to its logits (scaling, soft caps) in place.
    hook = inner.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0][:, :-1][is_predicted],))
    try:
        logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
    finally:
        hook.remove()
    targets = input_ids[:, 1:][is_predicted]
    return -torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")


def answer_logps(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed log-probs (pairs,) of the chosen and of the rejected answers of a TRL preference batch.

    The two halves of the batch run one after the other, each cut to its own longest row: a rejected step is
    much shorter than a chosen solution.
    """
    sums = []
    for ids, attention, is_answer in zip(
        *(inputs[name].chunk(2) for name in ("input_ids", "attention_mask", "completion_mask")), strict=True
    ):
        longest = int(attention.sum(dim=1).max())
        is_answer = is_answer[:, :longest]
        log_probs = target_log_probs(model, ids[:, :longest], attention[:, :longest], is_answer)
        per_token = log_probs.new_zeros(is_answer[:, 1:].shape).masked_scatter(is_answer[:, 1:].bool(), log_probs)
        sums.append(per_token.sum(dim=1))
    return sums[0], sums[1]


class CompletionTrainer(_FixedOrderMixin, SFTTrainer):
    """SFT on ready ``input_ids`` and ``labels``: the mean negative log-likelihood per completion token.

    The loss is TRL's "nll" (a test compares them), without its entropy and token-accuracy metrics.
    """

    def __init__(self, *args: Any, order: Sequence[int], **kwargs: Any) -> None:
        self.order = order
        super().__init__(*args, **kwargs)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the summed negative log-likelihood over ``num_items_in_batch`` (labels of the whole step)."""
        is_target = inputs["labels"] != IGNORED_LABEL
        log_probs = target_log_probs(model, inputs["input_ids"], inputs["attention_mask"], is_target)
        return -log_probs.sum() / (is_target[:, 1:].sum() if num_items_in_batch is None else num_items_in_batch)


class StepDPOTrainer(_FixedOrderMixin, DPOTrainer):
    """DPO on token ids as they are: no EOS is added to either answer (plain TRL adds it to both).

    ``train_dataset`` has the columns ``prompt_ids``, ``chosen_ids`` and ``rejected_ids`` (lists of int), as
    built by `training.data.preference_example`: EOS after chosen, none after a pit step. ``order`` gives its rows
    in the order of training; the model in ``reference_dir`` is the reference (None: the start model).
    Every loss of TRL is TRL's own; plain "sigmoid" has a faster way to the same numbers.
    """

    def __init__(self, *args: Any, order: Sequence[int], reference_dir: Path | None = None, **kwargs: Any) -> None:
        self.order = order
        self._reference_dir = reference_dir
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Dataset, processing_class: Any, args: Any, dataset_name: str) -> Dataset:
        """Return the data set as it is; its rows fit ``max_length`` (`training.common.make_job` sees to it)."""
        missing = [name for name in PREFERENCE_COLUMNS if name not in dataset.column_names]
        if missing:
            raise ValueError(f"{dataset_name} data set lacks {', '.join(missing)}: StepDPOTrainer takes token ids")
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Add the reference's log-probs, without TRL's cache file and progress bar.

        They are kept in the run's folder: a resumed run has the same reference to the last bit, at no cost.
        """
        file = Path(self.args.output_dir) / REFERENCE_NAME
        known = read_json(file)
        if not known:
            chosen, rejected = self._reference_logps([dict(row) for row in dataset], batch_size)
            known = {"chosen": chosen, "rejected": rejected}
            write_json(file, known)
        return dataset.add_column("ref_chosen_logps", known["chosen"]).add_column(
            "ref_rejected_logps", known["rejected"]
        )

    def _reference_logps(self, rows: Sequence[dict[str, Any]], batch_size: int) -> tuple[list[float], list[float]]:
        if self._reference_dir is not None:
            loaded = AutoModelForCausalLM.from_pretrained(
                self._reference_dir, dtype=torch.float32, local_files_only=True
            )
            return self._logps_of(rows, batch_size, loaded.to(self.accelerator.device).eval())
        without_adapter = self.model.disable_adapter() if isinstance(self.model, PeftModel) else nullcontext()
        with without_adapter:
            return self._logps_of(rows, batch_size, self.model)

    def _logps_of(self, rows: Sequence[dict[str, Any]], batch_size: int, model: Any) -> tuple[list[float], list[float]]:
        """Return the summed log-probs (nats) of the chosen and the rejected answers, in batches of like length."""
        longest_first = sorted(range(len(rows)), key=lambda i: -sum(len(rows[i][name]) for name in PREFERENCE_COLUMNS))
        chosen_logps, rejected_logps = [0.0] * len(rows), [0.0] * len(rows)
        with torch.no_grad(), self.accelerator.autocast():
            for start in range(0, len(rows), batch_size):
                picked = longest_first[start : start + batch_size]
                batch = self._prepare_inputs(self.data_collator([rows[i] for i in picked]))
                chosen, rejected = answer_logps(model, batch)
                for i, chosen_logp, rejected_logp in zip(picked, chosen.tolist(), rejected.tolist(), strict=True):
                    chosen_logps[i], rejected_logps[i] = chosen_logp, rejected_logp
        return chosen_logps, rejected_logps

    def _compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool
    ) -> torch.Tensor:
        """Return the loss and note how far the log-prob of chosen (mean, nats) has moved from the reference."""
        if self.loss_types == ["sigmoid"]:
            loss = self._sigmoid_loss(model, inputs)
        else:
            loss = super()._compute_loss(model, inputs, return_outputs)
        noted = self._metrics["train"]
        noted["logps/chosen_change"].append(noted["rewards/chosen"][-1] / self.beta)
        return loss

    def _sigmoid_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the sigmoid DPO loss, TRL's to the last bits (a test compares them), and note the rewards."""
        chosen, rejected = answer_logps(model, inputs)
        chosen_rewards = self.beta * (chosen - inputs["ref_chosen_logps"])
        rejected_rewards = self.beta * (rejected - inputs["ref_rejected_logps"])
        margins = chosen_rewards - rejected_rewards
        numbers = {
            "rewards/chosen": chosen_rewards,
            "rewards/rejected": rejected_rewards,
            "rewards/margins": margins,
            "rewards/accuracies": (margins > 0).float(),
            "logps/chosen": chosen,
            "logps/rejected": rejected,
        }
        for name, values in numbers.items():
            self._metrics["train"][name].append(values.detach().mean().item())
        return -torch.nn.functional.logsigmoid(margins).mean()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add to the last step's line what the trained model is like: every other number is from before an update."""
        if "loss" in logs and self.state.global_step >= self.state.max_steps:
            logs = {**logs, "trained/logps/chosen_change": self._trained_chosen_change()}
        super().log(logs, start_time)

    def _trained_chosen_change(self) -> float:
        """Return the mean change (nats) of chosen's log-prob against the reference, on the pairs of the first step."""
        micro_batch_size = self.args.per_device_train_batch_size
        first = list(dict.fromkeys(self.order))[: micro_batch_size * self.args.gradient_accumulation_steps]
        rows = [self.train_dataset[i] for i in first]
        chosen, _ = self._logps_of(rows, micro_batch_size, self.model)
        changes = [logp - row["ref_chosen_logps"] for logp, row in zip(chosen, rows, strict=True)]
        return sum(changes) / len(changes)


class ProgressReporter(TrainerCallback):
    """Calls ``on_progress`` after every step, and keeps the log's ``epoch`` in passes over the examples."""

    def __init__(self, on_progress: OnProgress | None, steps_per_epoch: float) -> None:
        self._on_progress = on_progress
        self._steps_per_epoch = steps_per_epoch
        self._last_logs: dict[str, float] = {}

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Correct and remember the newest entry of the log."""
        entry = state.log_history[-1]
        entry["epoch"] = state.global_step / self._steps_per_epoch
        self._last_logs = dict(entry)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report the step; the last one is always logged."""
        if state.global_step >= state.max_steps:
            control.should_log = True
        if self._on_progress is not None:
            self._on_progress(state.global_step, state.max_steps, self._last_logs)
