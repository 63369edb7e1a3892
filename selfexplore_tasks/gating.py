"""The gate: is the candidate really better than the champion on the same dev problems? Pure functions.

The error rate ``gate.alpha`` is one-sided: the chance that an experiment promotes models that gain no more than
``gate.min_gain``, over all its planned rounds. Every round spends its share of it (Bonferroni), because many rounds
that are judged on one dev set would otherwise find a lucky one. docs/gate.md has the measured error rates and power.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfexplore_tasks.recipe import Gate
from selfexplore_tasks.statistics import bootstrap_differences, mcnemar_p, score_p

Verdict = Literal["promoted", "kept", "guarded", "regression"]


@dataclass(frozen=True)
class PairedOutcome:
    """Two models on the same problems: how many only the candidate solves (gained), how many only the champion."""

    problem_count: int
    gained: int
    lost: int

    @cached_property
    def difference(self) -> float:
        """Accuracy of the candidate minus that of the champion; nan without a problem."""
        return (self.gained - self.lost) / self.problem_count if self.problem_count else float("nan")


@dataclass(frozen=True)
class Decision:
    """The gate's proposal, a sentence with the numbers, and what was measured (accuracies as shares)."""

    decision: Verdict
    reason: str
    gain: float
    gain_low: float
    gain_high: float
    p_value: float
    alpha_spent: float

    @property
    def is_promoted(self) -> bool:
        return self.decision == "promoted"


def round_alpha(gate: Gate, planned_rounds: int) -> float:
    """The chance of a wrong promotion that one round may take."""
    return gate.alpha / max(1, planned_rounds) if gate.spending == "even" else gate.alpha


def decide(
    main: PairedOutcome, guards: Mapping[str, PairedOutcome], gate: Gate, *, planned_rounds: int, seed: int
) -> Decision:
    """Decide on a candidate: a regression first, then the guards, then whether the gain is sure enough.

    Args:
        main: the experiment's own dev problems; ``guards``: dev of the benchmarks in ``gate.guards``, by name.
        planned_rounds: ``max_rounds`` of the recipe; ``seed`` decides the bootstrap.

    Raises:
        ValueError: no problem was answered by both, or a guard's benchmark is not in ``guards``.
    """
    if not main.problem_count:
        raise ValueError("the gate needs dev problems that candidate and champion both answered")
    alpha = round_alpha(gate, planned_rounds)
    differences = np.sort(bootstrap_differences(main.gained, main.lost, main.problem_count, seed=seed))
    # Exactly as many draws lie below gain_low as p may count; the tiny summand undoes rounding of alpha.
    rank = int(alpha * len(differences) + 1e-9)
    low, high = float(differences[rank]), float(differences[-1 - rank])
    p_value = _p_value(main, differences, gate)
    verdict, why = _verdict(main, guards, gate, p_value, alpha)
    numbers = (
        f"{100 * main.difference:+.1f} points on {main.problem_count:,} dev problems "
        f"[{100 * low:+.1f}, {100 * high:+.1f}], p = {p_value:.2g} against {alpha:.2g}"
    )
    return Decision(verdict, f"{why}: {numbers}", main.difference, low, high, p_value, alpha)


def _p_value(main: PairedOutcome, differences: NDArray[np.float64], gate: Gate) -> float:
    """One-sided: so much more than ``gate.min_gain`` by chance.

    The percentile bootstrap promotes equal models too often where few problems differ and alpha is small (up to 1.9
    times alpha = 0.0025), so there the known distribution has to agree.
    """
    if gate.min_gain:
        known = score_p(main.gained, main.lost, main.problem_count, at_most=gate.min_gain)
    else:
        known = mcnemar_p(main.gained, main.lost)
    return known if gate.test == "mcnemar" else max(known, float(np.mean(differences <= gate.min_gain)))


def _verdict(
    main: PairedOutcome, guards: Mapping[str, PairedOutcome], gate: Gate, p_value: float, alpha: float
) -> tuple[Verdict, str]:
    if gate.max_regression is not None and -main.difference > gate.max_regression:
        return "regression", f"lost more than {100 * gate.max_regression:g} points"
    for guard in gate.guards:
        if guard.benchmark not in guards or not guards[guard.benchmark].problem_count:
            raise ValueError(f"the guard benchmark {guard.benchmark} was not measured for both models")
        on_guard = guards[guard.benchmark].difference
        if -on_guard > guard.max_loss:
            return "guarded", (
                f"lost {-100 * on_guard:.1f} points on {guard.benchmark}, more than {100 * guard.max_loss:g}, whatever "
                "the gain"
            )
    if not main.gained and not main.lost:
        return "kept", "solves the same problems"
    if p_value <= alpha and main.difference > gate.min_gain:
        return "promoted", "better" if not gate.min_gain else f"better by more than {100 * gate.min_gain:g} points"
    return "kept", "not surely better" if main.difference > 0 else "no better"
