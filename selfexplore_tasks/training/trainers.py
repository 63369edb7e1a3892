"""TRL's trainers as we use them. Importing this module imports torch, transformers and TRL (about 5 s).

Written against TRL 1.16: ``SFTTrainer`` takes ``labels`` as they are when its preparation is skipped;
``DPOTrainer`` has no such way in, so its preparation and the pass for the reference log-probs are overridden.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.models.utils import prepare_deepspeed, prepare_fsdp
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_trainer import SFTTrainer

from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.training.data import IGNORED_LABEL, OnProgress
from selfexplore_tasks.training.in_order import ROW_COUNT, InOrder
from selfexplore_tasks.training.logps import answer_logps, can_share_prompts, shared_prompt_logps, target_log_probs
from selfexplore_tasks.training.order import dealt_batches
from selfexplore_tasks.training.partial import REFERENCE_NAME, read_json

PREFERENCE_COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")


class CompletionTrainer(InOrder, SFTTrainer):
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
        is_target = self._is_target(inputs)
        log_probs = target_log_probs(model, inputs["input_ids"], inputs["attention_mask"], is_target)
        count = is_target[:, 1:].sum() if num_items_in_batch is None else num_items_in_batch
        # Gradients are averaged over the processes; the count is that of all of them.
        return -log_probs.sum() / count * self.args.world_size

    def item_count(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return the labels of a micro-batch."""
        return self._is_target(batch)[:, 1:].sum()

    def _is_target(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return (batch["labels"] != IGNORED_LABEL) & (batch[ROW_COUNT] > 0)


class StepDPOTrainer(InOrder, DPOTrainer):
    """DPO on token ids as they are: no EOS is added to either answer (plain TRL adds it to both).

    ``train_dataset`` has the columns ``prompt_ids``, ``chosen_ids`` and ``rejected_ids`` (lists of int), as
    built by `training.data.preference_example`: EOS after chosen, none after a pit step. ``order`` gives its rows
    in the order of training; the model in ``reference_dir`` is the reference (None: the start model).
    Every loss of TRL is TRL's own; plain "sigmoid" has a faster way to the same numbers.
    """

    def __init__(self, *args: Any, order: Sequence[int], reference_dir: Path | None = None, **kwargs: Any) -> None:
        self.order = order
        self._reference_dir = reference_dir
        self._shares_prompts: bool | None = None
        self._sums: defaultdict[str, float] = defaultdict(float)
        super().__init__(*args, **kwargs)
        self.loss_is_scaled_for_ga = True  # `compute_loss` divides by the whole step's pairs

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
        # All processes take the first one's word for it: none may go on without the others.
        known = broadcast_object_list([read_json(file)], from_process=0)[0]
        if not known:
            chosen, rejected = self._reference_logps([dict(row) for row in dataset], batch_size)
            known = {"chosen": chosen, "rejected": rejected}
            if self.accelerator.is_main_process:
                write_json(file, known)
        return dataset.add_column("ref_chosen_logps", known["chosen"]).add_column(
            "ref_rejected_logps", known["rejected"]
        )

    def _reference_logps(self, rows: Sequence[dict[str, Any]], batch_size: int) -> tuple[list[float], list[float]]:
        folder = self._reference_dir
        if folder is None and self.is_fsdp_enabled and isinstance(self.model, PeftModel):
            folder = Path(self.model.get_base_model().name_or_path)  # the model itself is not sharded yet
        if folder is not None:
            loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
            return self._logps_of(rows, batch_size, self._placed(loaded.eval()))
        if self.ref_model is not None:  # TRL's copy of the start model, sharded, where the model itself is not yet
            return self._logps_of(rows, batch_size, self.ref_model)
        without_adapter = self.model.disable_adapter() if isinstance(self.model, PeftModel) else nullcontext()
        with without_adapter:
            model = prepare_deepspeed(self.model, self.accelerator) if self.is_deepspeed_enabled else self.model
            return self._logps_of(rows, batch_size, model)

    def _placed(self, model: Any) -> Any:
        """The reference where the processes need it: shared out like the model that is trained."""
        if self.is_deepspeed_enabled:
            return prepare_deepspeed(model, self.accelerator)
        if self.is_fsdp_enabled:
            return prepare_fsdp(model, self.accelerator)
        return model.to(self.accelerator.device)

    def _logps_of(self, rows: Sequence[dict[str, Any]], batch_size: int, model: Any) -> tuple[list[float], list[float]]:
        """Return the summed log-probs (nats) of the chosen and the rejected answers, in batches of like length.

        Every process takes its share of the batches; all get all sums.
        """
        longest_first = sorted(range(len(rows)), key=lambda i: -sum(len(rows[i][name]) for name in PREFERENCE_COLUMNS))
        sums = torch.zeros(2, len(rows), device=self.accelerator.device)
        mine = dealt_batches(longest_first, batch_size, self.args.process_index, self.args.world_size)
        with torch.no_grad(), self.accelerator.autocast():
            for picked in mine:
                # A process that has nothing left goes through the model all the same: the others may need its share.
                batch = self._prepare_inputs(self.data_collator([rows[i] for i in picked or longest_first[:1]]))
                logps = torch.stack(self._answer_logps(model, batch))
                if picked:
                    sums[:, picked] = logps
        chosen, rejected = self.accelerator.reduce(sums, "sum").tolist()
        return chosen, rejected

    def _answer_logps(self, model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the summed log-probs (pairs,) of chosen and rejected, the faster way if the first batch allows it."""
        if self._shares_prompts is None:
            refusals = torch.tensor(
                not can_share_prompts(model, batch), dtype=torch.int, device=self.accelerator.device
            )
            self._shares_prompts = not self.accelerator.reduce(refusals, "sum")
        return (shared_prompt_logps if self._shares_prompts else answer_logps)(model, batch)

    def item_count(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return the pairs of a micro-batch."""
        return batch[ROW_COUNT]

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return this micro-batch's share of the step's mean loss over ``num_items_in_batch`` pairs."""
        row_count = inputs.pop(ROW_COUNT)
        loss = super().compute_loss(model, inputs, return_outputs)
        noted, count = self._metrics["train"], int(row_count)
        noted.pop("num_tokens", None)  # a running total of one process
        for name, values in noted.items():
            self._sums[name] += count * values[-1]
        self._sums[ROW_COUNT] += count
        noted.clear()
        # Gradients are averaged over the processes; the count is that of all of them.
        return loss * row_count / num_items_in_batch * self.args.world_size

    def _compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool
    ) -> torch.Tensor:
        """Return the loss and note how far the log-prob of chosen (mean, nats) has moved from the reference."""
        if self.loss_types == ["sigmoid"]:
            loss = self._sigmoid_loss(model, inputs)
        else:
            with _nothing_gathered(self.accelerator):
                loss = super()._compute_loss(model, inputs, return_outputs)
        noted = self._metrics["train"]
        noted["logps/chosen_change"].append(noted["rewards/chosen"][-1] / self.beta)
        return loss

    def _sigmoid_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the sigmoid DPO loss, TRL's to the last bits (a test compares them), and note the rewards."""
        chosen, rejected = self._answer_logps(model, inputs)
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
        """Add the means since the last line, over all processes.

        The last step's line also says what the trained model is like: every other number is from before an update.
        """
        logs = {**logs, **self._means()}
        if "loss" in logs and self.state.global_step >= self.state.max_steps:
            logs["trained/logps/chosen_change"] = self._trained_chosen_change()
        super().log(logs, start_time)

    def _means(self) -> dict[str, float]:
        if not self._sums:
            return {}
        names = list(self._sums)
        local = torch.tensor([self._sums[name] for name in names], dtype=torch.float64, device=self.accelerator.device)
        totals = dict(zip(names, self.accelerator.reduce(local, "sum").tolist(), strict=True))
        self._sums.clear()
        count = totals.pop(ROW_COUNT)
        return {name: total / count for name, total in totals.items()}

    def _trained_chosen_change(self) -> float:
        """Return the mean change (nats) of chosen's log-prob against the reference, on the pairs of the first step."""
        micro_batch_size = self.args.per_device_train_batch_size
        step = micro_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        rows = [self.train_dataset[i] for i in list(dict.fromkeys(self.order))[:step]]
        chosen, _ = self._logps_of(rows, micro_batch_size, self.model)
        changes = [logp - row["ref_chosen_logps"] for logp, row in zip(chosen, rows, strict=True)]
        return sum(changes) / len(changes)


@contextmanager
def _nothing_gathered(accelerator: Any) -> Iterator[None]:
    """Keep TRL's numbers in this process: micro-batches of a short last batch differ in size, gathering would hang."""
    accelerator.gather = accelerator.gather_for_metrics = lambda values: values
    try:
        yield
    finally:
        del accelerator.gather, accelerator.gather_for_metrics


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
