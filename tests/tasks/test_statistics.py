"""The paired bootstrap: against a bootstrap that really resamples problems, and against what it must never do."""

from __future__ import annotations

import numpy as np
import pytest

from selfexplore_tasks.statistics import paired_bootstrap


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
