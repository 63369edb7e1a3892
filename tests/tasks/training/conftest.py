"""Small real training jobs on the suite's tiny Llama."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from selfexplore_tasks.recipe import Dpo, Training
from selfexplore_tasks.training.attempt import load_start, training_arguments
from selfexplore_tasks.training.data import PreferenceExample, TrainingExample, preference_example
from selfexplore_tasks.training.dpo import dpo_trainer
from selfexplore_tasks.training.job import make_job
from selfexplore_tasks.training.partial import PartialRun
from selfexplore_tasks.training.trainers import StepDPOTrainer

EOS = 0
TrainerOpener = Callable[..., StepDPOTrainer]


@pytest.fixture(scope="session")
def open_trainer() -> TrainerOpener:
    """The very trainer that `train_dpo` runs, for a model folder, an output folder, pairs and settings."""

    def call(model_dir: Path, folder: Path, pairs: list[PreferenceExample], settings: Dpo) -> StepDPOTrainer:
        job, kept = make_job(
            kind="dpo",
            model_dir=model_dir,
            output_dir=folder / "policy",
            examples=pairs,
            settings=settings,
            seed=7,
            threads=1,
        )
        model, tokenizer = load_start(model_dir)
        arguments = training_arguments(job, PartialRun.open(job.output_dir, "x", settings.micro_batch_size))
        return dpo_trainer(job, kept, model, tokenizer, arguments, [])

    return call


@pytest.fixture(scope="session")
def sft_examples() -> list[TrainingExample]:
    """Forty examples of unequal length; the completion repeats the prompt's last token, then ends."""
    source = random.Random(1)
    examples = []
    for _ in range(40):
        prompt = tuple(source.randrange(2, 100) for _ in range(source.randint(2, 12)))
        examples.append(TrainingExample(prompt, (*prompt[-1:] * source.randint(1, 8), EOS)))
    return examples


@pytest.fixture(scope="session")
def pairs() -> list[PreferenceExample]:
    """Twenty-four pairs: chosen repeats the prompt's last token, rejected is a shorter other text."""
    source = random.Random(2)
    examples = []
    for _ in range(24):
        prompt = [source.randrange(2, 100) for _ in range(source.randint(2, 12))]
        chosen = prompt[-1:] * source.randint(2, 8)
        rejected = [source.randrange(2, 100) for _ in range(source.randint(1, 3))]
        examples.append(preference_example(prompt, chosen, rejected, EOS))
    return examples


@pytest.fixture
def sft_settings() -> Training:
    """Ten steps of eight examples in two micro-batches."""
    return Training(epochs=2, learning_rate=1e-2, batch_size=8, micro_batch_size=4, max_length=64)


@pytest.fixture
def dpo_settings() -> Dpo:
    """Six steps of eight pairs."""
    return Dpo(epochs=2, learning_rate=1e-3, batch_size=8, micro_batch_size=8, max_length=64)
