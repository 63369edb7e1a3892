"""Log-probabilities of answers, at no more cost than they need. Imports torch and peft."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel

SHARING_TOLERANCE = 0.05
"""Nats a token; bfloat16 rounds to about a hundredth, an attention that ignores its mask is off by whole nats."""


def target_log_probs(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, is_target: torch.Tensor
) -> torch.Tensor:
    """Return the log-probability (nats, float32) of every target token, flat, in row order.

    All arguments are (batch, length). The head is applied in front of target tokens only: on a small model on
    the CPU, logits of prompts and padding would be a third of a step. The first token of a row is never a target.
    ``model`` may be wrapped for several processes.
    """
    is_predicted = is_target[:, 1:].bool()
    # Selecting in front of the head leaves what a model does to its logits (scaling, soft caps) in place.
    hook = _head(model).register_forward_pre_hook(lambda _, args: (args[0][:, :-1][is_predicted],))
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


def shared_prompt_logps(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `answer_logps` does, reading each pair's prompt once instead of twice.

    A row is the prompt, the chosen and the rejected answer; the rejected one has positions that go on after the prompt
    and does not see the chosen one. On pairs of a step against the rest of a solution that saves a third of all tokens.
    Needs an attention that obeys a mask of its own (`can_share_prompts`).
    """
    row = _SharedRows(inputs)
    hook = _head(model).register_forward_pre_hook(lambda _, args: (args[0][row.target_rows, row.predictors],))
    try:
        logits = model(
            input_ids=row.input_ids, attention_mask=row.mask, position_ids=row.positions, use_cache=False
        ).logits
    finally:
        hook.remove()
    log_probs = -torch.nn.functional.cross_entropy(logits.float(), row.targets, reduction="none")
    per_token = log_probs.new_zeros(row.is_target.shape).masked_scatter(row.is_target, log_probs)
    return (per_token * row.is_chosen).sum(dim=1), (per_token * ~row.is_chosen).sum(dim=1)


@torch.no_grad()
def can_share_prompts(model: Any, inputs: dict[str, torch.Tensor]) -> bool:
    """Try on one batch whether this model's attention obeys the mask: the numbers must be those of `answer_logps`."""
    if _inner(model).config._attn_implementation != "sdpa":
        return False
    shared, apart = (torch.cat(way(model, inputs)) for way in (shared_prompt_logps, answer_logps))
    token_counts = inputs["completion_mask"].sum(dim=1)
    return bool(((shared - apart).abs() / token_counts).max() < SHARING_TOLERANCE)


class _SharedRows:
    """Rows of prompt, chosen, rejected, padding; all tensors are (pairs, length) but for those named flat."""

    def __init__(self, inputs: dict[str, torch.Tensor]) -> None:
        chosen_ids, rejected_ids = inputs["input_ids"].chunk(2)
        chosen_end, _ = (count[:, None] for count in inputs["attention_mask"].sum(dim=1).chunk(2))
        chosen_count, rejected_count = (count[:, None] for count in inputs["completion_mask"].sum(dim=1).chunk(2))
        prompt_end, end = chosen_end - chosen_count, chosen_end + rejected_count
        place = torch.arange(int(end.max()), device=chosen_ids.device).expand(len(chosen_ids), -1)
        in_rejected = place - chosen_end + prompt_end
        self.is_chosen = place < chosen_end
        self.is_target = (place >= prompt_end) & (place < end)
        self.positions = torch.where(self.is_chosen, place, in_rejected)
        last = chosen_ids.shape[1] - 1
        self.input_ids = torch.where(
            self.is_chosen,
            chosen_ids.gather(1, place.clamp(max=last)),
            rejected_ids.gather(1, in_rejected.clamp(0, last)),
        )
        # Flat, one entry a target: its row, the place whose output predicts it, and the token.
        self.target_rows = self.is_target.nonzero()[:, 0]
        self.predictors = torch.where(place == chosen_end, prompt_end - 1, place - 1)[self.is_target]
        self.targets = self.input_ids[self.is_target]
        # (pairs, 1, length, length), True = is seen. What stands behind chosen, padding too, does not see it.
        is_hidden = ~self.is_chosen[:, :, None] & (self.is_chosen & self.is_target)[:, None, :]
        self.mask = ((place[:, :, None] >= place[:, None, :]) & ~is_hidden)[:, None]


def _inner(model: Any) -> Any:
    """The model below what several processes and adapters wrap around it."""
    inner = getattr(model, "module", model)
    return inner.get_base_model() if isinstance(inner, PeftModel) else inner


def _head(model: Any) -> Any:
    """The layer that makes logits."""
    return _inner(model).get_output_embeddings()
