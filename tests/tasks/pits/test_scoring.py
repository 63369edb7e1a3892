"""ProcessBench's F1 on hand-made labels."""

from __future__ import annotations

import pytest

from selfexplore_tasks.pits.scoring import score_pits


def test_f1_is_the_harmonic_mean_of_both_accuracies() -> None:
    found = [0, 2, 1, -1, 3, -1, -1, 0]
    labels = [0, 1, 2, 4, 3, -1, -1, -1]
    score = score_pits(found, labels)
    assert (score.solutions, score.with_wrong_step) == (8, 5)
    assert score.accuracy_wrong == pytest.approx(2 / 5)
    assert score.accuracy_right == pytest.approx(2 / 3)
    assert score.f1 == pytest.approx(2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3))
    assert score.early == pytest.approx(1 / 5), "the third"
    assert score.late == pytest.approx(2 / 5), "the second, and the fourth, which has no pit at all"


def test_one_kind_alone_has_no_f1() -> None:
    assert score_pits([1], [1]).f1 is None
    assert score_pits([-1], [-1]).accuracy_wrong is None


def test_nothing_right_is_zero() -> None:
    assert score_pits([0, 0], [1, -1]).f1 == 0.0
