"""Small real training jobs on the suite's tiny Llama."""

from __future__ import annotations

import random

import pytest

from selfexplore_tasks.recipe import Dpo, Training
from selfexplore_tasks.training.data import PreferenceExample, TrainingExample, preference_example

EOS = 0


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
