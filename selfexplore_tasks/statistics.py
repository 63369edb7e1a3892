"""Uncertainty of a difference between two models that answered the same problems."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

BOOTSTRAP_DRAWS = 10_000


def paired_bootstrap(gained: int, lost: int, problem_count: int, *, seed: int) -> tuple[float, float]:
    """Return the 95% percentile interval of the difference in accuracy, from a paired bootstrap over problems.

    Args:
        gained: problems that the model solves and the baseline does not; ``lost`` the other way round.
        problem_count: problems that both answered, at least 1.
    """
    same = problem_count - gained - lost
    if problem_count < 1 or min(gained, lost, same) < 0:
        raise ValueError(f"gained={gained} and lost={lost} do not fit {problem_count} problems")
    return clustered_bootstrap({(1, 1): gained, (-1, 1): lost, (0, 1): same}, seed=seed)


def clustered_bootstrap(problems: Mapping[tuple[int, int], int], *, seed: int) -> tuple[float, float]:
    """Return the 95% percentile interval of the mean difference where problems were answered several times.

    Resampling problems with replacement and summing what they hold is one multinomial draw over the kinds of problem,
    so this is the exact bootstrap without touching the problems again. All answers to a problem (of several seeds)
    are drawn together: they are not independent.

    Args:
        problems: how many problems have this (sum of differences, number of answers).
    """
    # Sorted, so that the interval does not depend on the order in which the kinds were met.
    kinds = np.array(sorted(problems))
    counts = np.array([problems[kind] for kind in sorted(problems)])
    total = counts.sum()
    resampled = np.random.default_rng(seed).multinomial(total, counts / total, size=BOOTSTRAP_DRAWS)
    low, high = np.percentile(resampled @ kinds[:, 0] / (resampled @ kinds[:, 1]), [2.5, 97.5])
    return float(low), float(high)
