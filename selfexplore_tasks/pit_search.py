"""The search for a first pit (method, step 7): which steps of a rationale are tried, in which order, how often.

One pure generator per rationale: it asks for rollouts and is told how many of them are correct.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfexplore_tasks.recipe import Explore

RECOVERY = 0.75
"""What ``noisy_binary`` takes for granted: how often a rollout after a step before the pit is correct."""


@dataclass(frozen=True)
class Draws:
    """Rollouts ``first_index``, ``first_index + 1``, ... (0-based, ``count`` of them) after steps 1..``step``."""

    step: int
    first_index: int
    count: int


PitSearch = Generator[Draws, int, int | None]
"""Yields what to draw, is sent how many of these rollouts are correct, and returns the first pit (None = none)."""


def search_pit(step_count: int, settings: Explore) -> PitSearch:
    """Search steps 1..``step_count`` for the first one that no rollout recovers from.

    A step passes with its first correct rollout, and fails when k (with ``confirm`` 2k) are wrong. ``linear`` goes from
    step 1 on and ends at the first that fails. ``binary`` halves, taking for granted that a failed step stays failed:
    about log2(step_count + 1) steps are tried. ``noisy_binary`` takes a wrong rollout for a hint only, and draws the
    next one wherever it tells most: a step is left undecided where a later one passes. Whatever the search, the pit
    failed and the step before it was tried and passed, or the pit is step 1.
    """
    drawn: Counter[int] = Counter()
    totals = _totals(settings)
    passed, failed = 0, step_count + 1
    while failed - passed > 1:
        if settings.search == "linear":
            step = passed + 1
        elif settings.search == "binary":
            step = (passed + failed) // 2
        else:
            step = _most_telling(passed, failed, step_count, drawn)
        total = next(total for total in totals if total > drawn[step])
        if (yield from _draw_up_to(total, step, drawn)):
            passed = step
        elif total == totals[-1]:
            failed = step
    if failed > step_count:
        return None
    if settings.top_up and passed:
        # Chosen is one of these rollouts: here none may have been saved, nor any that confirmed the step.
        late = drawn[passed] > settings.k
        yield from _draw_up_to(2 * settings.k if late else settings.k, passed, drawn)
    return failed


def run_search(
    step_count: int, settings: Explore, count_correct: Callable[[Draws], int]
) -> tuple[int | None, list[Draws]]:
    """Search with rollouts that are known already: returns the first pit (None = none) and everything asked for."""
    search = search_pit(step_count, settings)
    asked: list[Draws] = []
    try:
        asked.append(next(search))
        while True:
            asked.append(search.send(count_correct(asked[-1])))
    except StopIteration as end:
        return end.value, asked


def _totals(settings: Explore) -> list[int]:
    """How many rollouts a step has after each batch of them, while none is correct; adaptive adds stops."""
    most = 2 * settings.k if settings.confirm else settings.k
    if settings.search == "noisy_binary":
        return list(range(1, most + 1))
    doubling = [1 << power for power in range(most.bit_length()) if 1 << power < most] if settings.adaptive else []
    return sorted({*doubling, settings.k, most})


def _draw_up_to(total: int, step: int, drawn: Counter[int]) -> Generator[Draws, int, int]:
    """Draw what ``step`` lacks to ``total`` rollouts; return how many of the new ones are correct."""
    first, drawn[step] = drawn[step], max(drawn[step], total)
    return (yield Draws(step, first, total - first)) if total > first else 0


def _most_telling(passed: int, failed: int, step_count: int, wrong: Counter[int]) -> int:
    """The step between ``passed`` and ``failed`` after which one more rollout tells most about where the pit is.

    A noisy binary search (Horstein 1963, Burnashev and Zigangirov 1974): a correct rollout proves that the pit comes
    later, a wrong one (``wrong`` of them so far, per step) makes that 1 - RECOVERY times as likely. Before any rollout
    the pit is step j with probability 1 / (j (j + 1)): every step is the pit with the same chance, of which nothing is
    known (Laplace's rule of succession). So it begins at step 1, and after a success takes longer strides.
    """
    weights, luck = [], 1.0
    for step in range(passed + 1, failed + 1):
        prior = 1 / (step * (step + 1)) if step <= step_count else 1 / step
        weights.append(luck * prior)
        luck *= (1 - RECOVERY) ** wrong[step]
    # How likely it is that the pit is step ``passed + 1`` or later, ``passed + 2`` or later, ...
    behind = _shares(weights)[1:]
    # Rounded, so that of equal ones the first is taken on every machine.
    told = [round(_entropy(RECOVERY * share) - share * _entropy(RECOVERY), 9) for share in behind]
    return passed + 1 + told.index(max(told))


def _shares(weights: list[float]) -> list[float]:
    """For every weight the share that it has together with those behind it."""
    sums = list(accumulate(reversed(weights)))[::-1]
    return [one / sums[0] for one in sums]


def _entropy(probability: float) -> float:
    """Of an event, in nats."""
    return -sum(p * math.log(p) for p in (probability, 1 - probability) if p > 0)
