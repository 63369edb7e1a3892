"""Paired comparisons: against a bootstrap that really resamples problems, and against tests by their definition."""

from __future__ import annotations

from math import comb, erfc, sqrt

import numpy as np
import pytest

from selfexplore_tasks.statistics import bootstrap_differences, mcnemar_p, paired_bootstrap, score_p


def resampled_interval(gained: int, lost: int, problem_count: int) -> tuple[float, float]:
    """The bootstrap as a textbook does it: draw problems with replacement and take both models' answers to them."""
    model = np.array([1] * gained + [0] * lost + [1] * (problem_count - gained - lost))
    baseline = np.array([0] * gained + [1] * lost + [1] * (problem_count - gained - lost))
    rows = np.random.default_rng(7).integers(problem_count, size=(10_000, problem_count))
    low, high = np.percentile((model[rows] - baseline[rows]).mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize(("gained", "lost", "count"), [(40, 20, 300), (0, 12, 200), (5, 5, 50), (90, 10, 100)])
def test_it_agrees_with_resampling_the_problems(gained: int, lost: int, count: int) -> None:
    found = paired_bootstrap(gained, lost, count, seed=1)
    assert found == pytest.approx(resampled_interval(gained, lost, count), abs=0.015)


def test_the_same_seed_gives_the_same_interval_around_the_difference() -> None:
    low, high = paired_bootstrap(30, 10, 200, seed=3)
    assert (low, high) == paired_bootstrap(30, 10, 200, seed=3)
    assert low < (30 - 10) / 200 < high


def test_equal_models_have_no_difference() -> None:
    assert paired_bootstrap(0, 0, 80, seed=0) == (0.0, 0.0)


@pytest.mark.parametrize("counts", [(1, 1, 1), (-1, 0, 5), (0, 0, 0)])
def test_counts_that_do_not_fit_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        paired_bootstrap(*counts, seed=0)
    with pytest.raises(ValueError, match="do not fit"):
        bootstrap_differences(*counts, seed=0)


def test_the_interval_is_that_of_the_differences() -> None:
    differences = bootstrap_differences(30, 10, 200, seed=3)
    assert paired_bootstrap(30, 10, 200, seed=3) == pytest.approx(np.percentile(differences, [2.5, 97.5]), abs=0.01)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (0, 5), (10, 4), (4, 10), (300, 250), (1030, 970)])
def test_mcnemar_counts_every_way_to_share_the_problems(gained: int, lost: int) -> None:
    total = gained + lost
    more = sum(comb(total, wins) for wins in range(gained + 1, total + 1))
    assert mcnemar_p(gained, lost) == pytest.approx((2 * more + comb(total, gained)) / 2 ** (total + 1))


def test_mcnemar_refuses_a_negative_count() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        mcnemar_p(-1, 3)


@pytest.mark.parametrize(
    ("gained", "lost", "count", "at_most"),
    [(40, 20, 300, 0.03), (12, 0, 200, 0.01), (30, 40, 100, 0.1), (60, 5, 90, 0.5)],
)
def test_the_score_test_uses_the_likeliest_shares_of_such_a_difference(
    gained: int, lost: int, count: int, at_most: float
) -> None:
    shares = np.linspace(0, (1 - at_most) / 2, 2_000_001)[1:-1]
    likelihood = gained * np.log(shares + at_most) + lost * np.log(shares)
    likelihood += (count - gained - lost) * np.log(1 - 2 * shares - at_most)
    likeliest = shares[likelihood.argmax()]
    variance = count * (2 * likeliest + at_most - at_most**2)
    expected = erfc((gained - lost - 0.5 - count * at_most) / sqrt(2 * variance)) / 2
    assert score_p(gained, lost, count, at_most=at_most) == pytest.approx(expected, rel=1e-3)


def test_without_a_least_difference_the_score_test_is_mcnemars() -> None:
    assert score_p(1030, 970, 5000, at_most=0) == pytest.approx(erfc(59.5 / sqrt(2 * 2000)) / 2)
    assert score_p(0, 0, 5000, at_most=0) == 1
