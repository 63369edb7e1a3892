"""Comparing pits with the truth: shares of exact, early and late ones, and ProcessBench's F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PitScore:
    """Shares lie in [0, 1]; a share over nothing is None.

    ``accuracy_wrong`` is the share of the solutions with a wrong step whose first wrong step was found exactly,
    ``accuracy_right`` the share of those without one in which no pit was found; ``f1`` is their harmonic mean
    (ProcessBench, arXiv 2412.06559, section 4). ``early`` and ``late`` are shares of the solutions with a wrong step.
    """

    solutions: int
    with_wrong_step: int
    accuracy_wrong: float | None
    accuracy_right: float | None
    f1: float | None
    early: float | None
    late: float | None

    def as_json(self) -> dict[str, Any]:
        """The score as plain JSON values."""
        return asdict(self)


def score_pits(found: Sequence[int], labels: Sequence[int]) -> PitScore:
    """Score found pits against labels; both are 0-based step numbers, -1 where there is none."""
    pairs = list(zip(found, labels, strict=True))
    wrong = [(pit, label) for pit, label in pairs if label >= 0]
    right = [pit for pit, label in pairs if label < 0]
    accuracy_wrong = _share(sum(pit == label for pit, label in wrong), len(wrong))
    accuracy_right = _share(sum(pit < 0 for pit in right), len(right))
    f1 = None
    if accuracy_wrong is not None and accuracy_right is not None:
        total = accuracy_wrong + accuracy_right
        f1 = 2 * accuracy_wrong * accuracy_right / total if total else 0.0
    return PitScore(
        solutions=len(pairs),
        with_wrong_step=len(wrong),
        accuracy_wrong=accuracy_wrong,
        accuracy_right=accuracy_right,
        f1=f1,
        early=_share(sum(0 <= pit < label for pit, label in wrong), len(wrong)),
        late=_share(sum(pit < 0 or pit > label for pit, label in wrong), len(wrong)),
    )


def _share(count: int, total: int) -> float | None:
    return count / total if total else None
