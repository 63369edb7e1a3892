"""The order of training: complete, repeatable, and shuffled across lengths."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from selfexplore_tasks.training.order import step_count, training_order


@given(st.lists(st.integers(1, 90), min_size=1, max_size=80), st.integers(1, 9), st.integers(1, 4), st.integers(0, 9))
def test_every_example_once_an_epoch(lengths: list[int], batch_size: int, epochs: int, seed: int) -> None:
    order = training_order(lengths, batch_size, epochs, seed)
    assert Counter(order) == {index: epochs for index in range(len(lengths))}
    assert order == training_order(lengths, batch_size, epochs, seed)


def test_a_part_of_an_epoch_is_a_part_of_the_examples() -> None:
    order = training_order([5] * 100, 8, 0.25, seed=0)
    assert len(order) == len(set(order)) == 25
    assert step_count(order, 8) == 4


def test_batches_mix_lengths_and_run_from_the_longest() -> None:
    lengths = [index % 64 for index in range(512)]
    order = training_order(lengths, 16, 1, seed=3)
    batches = [[lengths[i] for i in order[start : start + 16]] for start in range(0, 512, 16)]
    assert all(batch == sorted(batch, reverse=True) for batch in batches)
    # Batches of like length make neighbouring steps disagree: it halved the accuracy of arithmetic-tiny.
    assert all(len(set(batch)) > 8 for batch in batches)
    assert [max(batch) for batch in batches] != sorted((max(batch) for batch in batches), reverse=True)


def test_seeds_differ() -> None:
    assert training_order([5] * 50, 8, 1, seed=0) != training_order([5] * 50, 8, 1, seed=1)
