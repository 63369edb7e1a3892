"""The order in which examples are trained on: a pure function of lengths, batch size, epochs and seed.

One list for the whole run (no epoch borders), so that a resumed run only has to skip a prefix of it, and neither the
micro-batch size nor the number of processes has a say in what an optimiser step sees.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence


def training_order(lengths: Sequence[int], batch_size: int, epochs: float, seed: int) -> list[int]:
    """Return the indices of the examples to train on, ``round(epochs * n)`` of them (at least one).

    Every pass is a fresh shuffle. Batches are not grouped by length: it would save padding, but on `arithmetic-tiny`
    it cost half of the accuracy (docs/results.md). Within a batch, examples go from the longest to the shortest, so
    that micro-batches are of like length and the largest comes first (running out of memory shows early).
    """
    random_source = random.Random(seed)
    count = max(1, round(epochs * len(lengths)))
    stream: list[int] = []
    while len(stream) < count:
        epoch = list(range(len(lengths)))
        random_source.shuffle(epoch)
        stream.extend(epoch)
    batches = (stream[start : min(start + batch_size, count)] for start in range(0, count, batch_size))
    return [index for batch in batches for index in sorted(batch, key=lambda index: -lengths[index])]


def step_count(order: Sequence[int], batch_size: int) -> int:
    """Return the optimiser steps that `order` takes."""
    return math.ceil(len(order) / batch_size)


def micro_batches(
    order: Sequence[int], batch_size: int, micro_batch_size: int, *, process: int = 0, processes: int = 1
) -> list[list[int]]:
    """Return what one of the processes trains on: its micro-batches, one after the other.

    Every step's batch is cut into rounds of ``micro_batch_size * processes`` examples, and a round is dealt out like
    cards: all processes get examples of like length. In the last round of a shorter last batch some may get none.
    """
    width = micro_batch_size * processes
    steps = (order[start : start + batch_size] for start in range(0, len(order), batch_size))
    rounds = (batch[start : start + width] for batch in steps for start in range(0, len(batch), width))
    return [list(one[process::processes]) for one in rounds]


def dealt_batches(indices: Sequence[int], batch_size: int, process: int, processes: int) -> list[list[int]]:
    """Return one process's batches of ``indices``; all processes get equally many, some perhaps empty."""
    batches = [list(indices[start : start + batch_size]) for start in range(0, len(indices), batch_size)]
    mine = batches[process::processes]
    return mine + [[]] * (math.ceil(len(batches) / processes) - len(mine))
