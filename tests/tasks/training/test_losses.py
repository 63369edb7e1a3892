"""Every preference loss of the recipe: it trains, and its numbers are those of its formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file

from selfexplore_tasks.recipe import SMOOTHED_LOSSES, Dpo, DpoLoss, Lora
from selfexplore_tasks.training.data import PreferenceExample
from selfexplore_tasks.training.dpo import train_dpo
from selfexplore_tasks.training.in_order import ROW_COUNT
from selfexplore_tasks.training.trainers import StepDPOTrainer

LOSSES = get_args(DpoLoss)
TrainerOpener = Callable[..., StepDPOTrainer]
SHIFTS = torch.linspace(-8, 8, 8)
"""Nats by which the reference of chosen is moved: at the start every pair would have the same loss."""


def _settings(loss: str, **changes: object) -> Dpo:
    smoothing = 0.1 if loss in SMOOTHED_LOSSES else 0.0
    return Dpo.model_validate(
        {
            "loss": loss,
            "label_smoothing": smoothing,
            "max_steps": 1,
            "warmup_ratio": 0.0,
            "learning_rate": 1e-3,
            "batch_size": 8,
            "micro_batch_size": 8,
            "max_length": 64,
            **changes,
        }
    )


@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8)], ids=["full", "lora"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_a_real_step(
    loss: str, lora: Lora | None, tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample]
) -> None:
    result = train_dpo(
        model_dir=tiny_model_dir,
        output_dir=tmp_path / "policy",
        examples=pairs,
        settings=_settings(loss, lora=lora),
        seed=7,
        threads=1,
    )
    (line,) = result.log_history
    assert all(math.isfinite(value) for value in line.values())
    assert line["grad_norm"] > 0
    # Before the step the policy is the reference; after it, it is not.
    assert line["logps/chosen_change"] == pytest.approx(0.0, abs=1e-3)
    assert abs(line["trained/logps/chosen_change"]) > 0.01
    start = load_file(tiny_model_dir / "model.safetensors")
    trained = load_file(tmp_path / "policy" / "model.safetensors")
    changed = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(start[changed], trained[changed])


def _token_log_probs(trainer: StepDPOTrainer, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Log-probs of each row's answer tokens, from the whole logits: slow, and none of the code under test."""
    embedded = trainer.model.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    logits = torch.nn.functional.linear(embedded.last_hidden_state, trainer.model.lm_head.weight)
    log_probs = logits[:, :-1].log_softmax(dim=-1).gather(2, batch["input_ids"][:, 1:, None]).squeeze(2)
    answers = batch["completion_mask"][:, 1:].bool()
    return [row[answer] for row, answer in zip(log_probs, answers, strict=True)]


@pytest.mark.parametrize(
    ("loss", "sft_weight"), [("sigmoid", 0.0), ("sigmoid", 0.3), ("hinge", 0.0), ("ipo", 0.0), ("robust", 0.5)]
)
def test_loss_is_its_formula(
    loss: str,
    sft_weight: float,
    tiny_model_dir: Path,
    tmp_path: Path,
    pairs: list[PreferenceExample],
    open_trainer: TrainerOpener,
) -> None:
    settings = _settings(loss, sft_weight=sft_weight, beta=0.2)
    trainer = open_trainer(tiny_model_dir, tmp_path, pairs, settings)
    batch = next(iter(trainer.get_train_dataloader()))
    batch.pop(ROW_COUNT)
    batch["ref_chosen_logps"] = batch["ref_chosen_logps"] + SHIFTS
    trainer.model.train()
    with torch.no_grad():
        measured = trainer._compute_loss(trainer.model, batch, False)
        tokens = _token_log_probs(trainer, batch)
    chosen, rejected = tokens[:8], tokens[8:]
    chosen_ratio = torch.stack([row.sum() for row in chosen]) - batch["ref_chosen_logps"]
    rejected_ratio = torch.stack([row.sum() for row in rejected]) - batch["ref_rejected_logps"]
    chosen_counts, rejected_counts = (torch.tensor([len(row) for row in rows]) for rows in (chosen, rejected))
    margin, sigmoid = 0.2 * (chosen_ratio - rejected_ratio), torch.sigmoid
    expected = {
        "sigmoid": -sigmoid(margin).log(),
        "hinge": (1 - margin).clamp(min=0),
        "ipo": (chosen_ratio / chosen_counts - rejected_ratio / rejected_counts - 1 / (2 * 0.2)) ** 2,
        "robust": (-0.9 * sigmoid(margin).log() + 0.1 * sigmoid(-margin).log()) / (1 - 2 * 0.1),
    }[loss].mean() - sft_weight * torch.cat(chosen).mean()
    torch.testing.assert_close(measured, expected, atol=1e-4, rtol=1e-4)
    noted = trainer._metrics["train"]
    assert noted["logps/chosen_change"][-1] == pytest.approx(chosen_ratio.mean().item(), abs=1e-3)
    assert noted["rewards/margins"][-1] == pytest.approx(margin.mean().item(), abs=1e-3)


def test_the_sft_term_pulls_chosen_up(tiny_model_dir: Path, tmp_path: Path, pairs: list[PreferenceExample]) -> None:
    moved = [
        train_dpo(
            model_dir=tiny_model_dir,
            output_dir=tmp_path / f"policy-{weight}",
            examples=pairs,
            settings=_settings("sigmoid", sft_weight=weight, max_steps=6),
            seed=7,
            threads=1,
        ).metrics["trained/logps/chosen_change"]
        for weight in (0.0, 10.0)
    ]
    assert moved[1] > moved[0]
