"""The order in which examples are trained on: a pure function of lengths, batch size, epochs and seed.

One list for the whole run (no epoch borders), so that a resumed run only has to skip a prefix of it and the
micro-batch size has no say in what an optimiser step sees.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

BATCHES_PER_GROUP = 8
"""Optimiser steps whose examples are shuffled among each other by length: enough to remove most of the padding."""


def training_order(lengths: Sequence[int], batch_size: int, epochs: float, seed: int) -> list[int]:
    """Return the indices of the examples to train on, ``round(epochs * n)`` of them (at least one).

    Every pass is a fresh shuffle. Within a group of ``BATCHES_PER_GROUP`` batches, examples are sorted by length
    and the batches shuffled again; a batch runs from its longest example to its shortest, so that micro-batches
    are of like length and the largest comes first (running out of memory shows early).
    """
    random_source = random.Random(seed)
    count = max(1, round(epochs * len(lengths)))
    stream: list[int] = []
    while len(stream) < count:
        epoch = list(range(len(lengths)))
        random_source.shuffle(epoch)
        stream.extend(epoch)
    stream = stream[:count]
    group_size = batch_size * BATCHES_PER_GROUP
    ordered: list[int] = []
    for start in range(0, count, group_size):
        ordered.extend(_grouped(stream[start : start + group_size], lengths, batch_size, random_source))
    return ordered


def _grouped(group: list[int], lengths: Sequence[int], batch_size: int, random_source: random.Random) -> list[int]:
    by_length = sorted(group, key=lambda index: -lengths[index])
    full, rest = divmod(len(by_length), batch_size)
    batches = [by_length[i * batch_size : (i + 1) * batch_size] for i in range(full)]
    random_source.shuffle(batches)
    # An incomplete batch can only be the run's last one: it stays last.
    tail = by_length[full * batch_size :] if rest else []
    return [index for batch in batches for index in batch] + tail


def step_count(order: Sequence[int], batch_size: int) -> int:
    """Return the optimiser steps that `order` takes."""
    return math.ceil(len(order) / batch_size)
