"""Uncertainty of a difference between two models that answered the same problems."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

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


def bootstrap_differences(gained: int, lost: int, problem_count: int, *, seed: int) -> NDArray[np.float64]:
    """Return `BOOTSTRAP_DRAWS` differences in accuracy from a paired bootstrap over problems."""
    same = problem_count - gained - lost
    if problem_count < 1 or min(gained, lost, same) < 0:
        raise ValueError(f"gained={gained} and lost={lost} do not fit {problem_count} problems")
    shares = np.array([gained, lost, same]) / problem_count
    drawn = np.random.default_rng(seed).multinomial(problem_count, shares, size=BOOTSTRAP_DRAWS)
    return (drawn[:, 0] - drawn[:, 1]) / problem_count


def mcnemar_p(gained: int, lost: int) -> float:
    """Return the one-sided mid-p of McNemar's exact test: that gained exceeds lost so far by chance.

    Of the problems that only one of two models solves, equal models win half each: Binomial(gained + lost, 1/2). The
    mid-p (Lancaster 1961) counts the observed number by half, which the exact p, being discrete, needs.
    """
    total = gained + lost
    if min(gained, lost) < 0:
        raise ValueError(f"gained={gained} and lost={lost} must not be negative")
    observed = ways = math.comb(total, gained)
    at_least = 0
    for wins in range(gained, total + 1):
        at_least += ways
        ways = ways * (total - wins) // (wins + 1)
    return float(Fraction(2 * at_least - observed, 2 ** (total + 1)))


def score_p(gained: int, lost: int, problem_count: int, *, at_most: float) -> float:
    """Return the one-sided p that the true difference in accuracy is ``at_most`` and only chance shows more.

    The score test for a difference of paired proportions (Tango 1998), with a continuity correction of half a
    problem: McNemar's chi-square where ``at_most`` is 0, and unlike it made for other differences.
    """
    if not gained:
        return 1.0
    a, b = 2 * problem_count, (2 * problem_count - gained + lost) * at_most - gained - lost
    # The likeliest share of lost problems, were the true difference at_most.
    share = (math.sqrt(b * b + 4 * a * lost * at_most * (1 - at_most)) - b) / (2 * a)
    deviation = math.sqrt(problem_count * (2 * share + at_most * (1 - at_most)))
    return math.erfc((gained - lost - 0.5 - problem_count * at_most) / deviation / math.sqrt(2)) / 2


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
