"""Log-probs of answers: one reading of the prompt gives what two give, and is not used where it would not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from selfexplore_tasks.recipe import Dpo
from selfexplore_tasks.training.data import PreferenceExample
from selfexplore_tasks.training.logps import answer_logps, can_share_prompts, shared_prompt_logps
from selfexplore_tasks.training.trainers import StepDPOTrainer

Gradients = dict[str, torch.Tensor]


@pytest.fixture
def trainer(
    tiny_model_dir: Path,
    tmp_path: Path,
    pairs: list[PreferenceExample],
    dpo_settings: Dpo,
    open_trainer: Callable[..., StepDPOTrainer],
) -> StepDPOTrainer:
    rejected_is_longer = PreferenceExample((5,), (6, 0), tuple(range(10, 40)))
    return open_trainer(tiny_model_dir, tmp_path, [*pairs[:7], rejected_is_longer], dpo_settings)


def _gradients(trainer: StepDPOTrainer, way: Callable[..., tuple[torch.Tensor, torch.Tensor]]) -> Gradients:
    trainer.model.zero_grad()
    chosen, rejected = way(trainer.model, next(iter(trainer.get_train_dataloader())))
    (chosen.sum() - 0.7 * rejected.sum()).backward()
    return {name: one.grad.clone() for name, one in trainer.model.named_parameters()}


def test_a_prompt_read_once_gives_the_same_sums_and_gradients(trainer: StepDPOTrainer) -> None:
    batch = next(iter(trainer.get_train_dataloader()))
    assert can_share_prompts(trainer.model, batch)
    for shared, apart in zip(
        shared_prompt_logps(trainer.model, batch), answer_logps(trainer.model, batch), strict=True
    ):
        torch.testing.assert_close(shared, apart, atol=1e-4, rtol=1e-5)
    shared_gradients, apart_gradients = (_gradients(trainer, way) for way in (shared_prompt_logps, answer_logps))
    for name, gradient in shared_gradients.items():
        torch.testing.assert_close(gradient, apart_gradients[name], atol=1e-3, rtol=1e-4)


def test_an_attention_that_may_not_obey_the_mask_reads_prompts_twice(trainer: StepDPOTrainer) -> None:
    batch = next(iter(trainer.get_train_dataloader()))
    layer = trainer.model.model.layers[0].self_attn
    forward = layer.forward
    layer.forward = lambda *args, attention_mask, **others: forward(*args, attention_mask=None, **others)
    assert not can_share_prompts(trainer.model, batch)
    layer.forward = forward
    trainer.model.config._attn_implementation = "eager"
    assert not can_share_prompts(trainer.model, batch)
