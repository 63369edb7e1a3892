"""Uncertainty of a difference between two models that answered the same problems."""

from __future__ import annotations

import numpy as np

BOOTSTRAP_DRAWS = 10_000


def paired_bootstrap(gained: int, lost: int, problem_count: int, *, seed: int) -> tuple[float, float]:
    """Return the 95% percentile interval of the difference in accuracy, from a paired bootstrap over problems.

    Resampling problems with replacement and counting which changed hands is one multinomial draw over (gained, lost,
    the same), so this is the exact bootstrap without touching the problems again.

    Args:
        gained: problems that the model solves and the baseline does not; ``lost`` the other way round.
        problem_count: problems that both answered, at least 1.
    """
    same = problem_count - gained - lost
    if problem_count < 1 or min(gained, lost, same) < 0:
        raise ValueError(f"gained={gained} and lost={lost} do not fit {problem_count} problems")
    shares = np.array([gained, lost, same]) / problem_count
    resampled = np.random.default_rng(seed).multinomial(problem_count, shares, size=BOOTSTRAP_DRAWS)
    low, high = np.percentile((resampled[:, 0] - resampled[:, 1]) / problem_count, [2.5, 97.5])
    return float(low), float(high)
