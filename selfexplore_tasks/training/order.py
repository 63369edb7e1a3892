"""The order in which examples are trained on: a pure function of lengths, batch size, epochs and seed.

One list for the whole run (no epoch borders), so that a resumed run only has to skip a prefix of it and the
micro-batch size has no say in what an optimiser step sees.
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
