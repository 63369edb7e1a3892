"""How often does the gate promote a model that is no better, and how often one that is? Needs no model and no GPU.

Simulates models that answer the same dev problems and lets the real gate (`gating.decide`) judge them:

    python tests/benchmarks/gate_power.py                                     # 1,000 rounds a cell, seed 0
    python tests/benchmarks/gate_power.py --problems 30 100 300 --discordant 0.02 0.1 0.4 --gains 0 --draws 10000

``discordant`` is the share of problems that only one of two equal models solves; a true gain comes on top of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from selfexplore_tasks.gating import PairedOutcome, decide
from selfexplore_tasks.recipe import Gate

TESTS = ("bootstrap", "mcnemar")
EXPERIMENT_ROUNDS = 20
# Shares of problems that a model always, sometimes (half the time) and never solves: half are solved, 20% discordant.
ALWAYS, SOMETIMES = 0.3, 0.4


@dataclass(frozen=True)
class Experiment:
    """One experiment of equal candidates on one dev set: promotions, and what they flattered the champion."""

    promotions: int
    dev_minus_test: float


def main() -> None:
    options = _options()
    rounds = list(_single_rounds(options))
    experiments = list(_experiments(options))
    if options.json:
        print(json.dumps({"rounds": rounds, "experiments": experiments}, indent=1))
        return
    print(f"Share of {options.draws:,} simulated rounds that the gate promotes, by true gain; seed {options.seed}")
    print(tabulate(rounds, headers="keys", floatfmt=".3f"))
    if experiments:
        print(f"\n{EXPERIMENT_ROUNDS} rounds of equal models on one dev set of {options.dev_count} problems")
        print(tabulate(experiments, headers="keys", floatfmt=".4f"))


def decided(
    problem_count: int, gain: float, discordant: float, gate: Gate, *, planned_rounds: int, draws: int, seed: int
) -> Counter[str]:
    """Count what the gate decides in ``draws`` simulated rounds; the candidate's true gain is ``gain``."""
    shares = [discordant / 2 + gain, discordant / 2, 1 - discordant - gain]
    outcomes = Counter(map(tuple, np.random.default_rng(seed).multinomial(problem_count, shares, size=draws).tolist()))
    decisions: Counter[str] = Counter()
    for (gained, lost, _), times in outcomes.items():
        outcome = PairedOutcome(problem_count, gained, lost)
        decisions[decide(outcome, {}, gate, planned_rounds=planned_rounds, seed=seed).decision] += times
    return decisions


def experiment(gate: Gate | None, source: np.random.Generator, dev_count: int, seed: int) -> Experiment:
    """Judge equal candidates one after another on one dev set, each against the champion of its round.

    Args:
        gate: None promotes whatever is higher on dev, by however little.
    """
    sometimes = np.arange(dev_count) < SOMETIMES * dev_count
    always = ~sometimes & (np.arange(dev_count) < (SOMETIMES + ALWAYS) * dev_count)

    def solved() -> NDArray[np.bool_]:
        return always | (sometimes & (source.random(dev_count) < 0.5))

    champion, promotions = solved(), 0
    for number in range(EXPERIMENT_ROUNDS):
        candidate = solved()
        outcome = PairedOutcome(dev_count, int((candidate & ~champion).sum()), int((champion & ~candidate).sum()))
        if (
            decide(outcome, {}, gate, planned_rounds=EXPERIMENT_ROUNDS, seed=seed + number).is_promoted
            if gate
            else outcome.difference > 0
        ):
            champion, promotions = candidate, promotions + 1
    # On test every one of these equal models solves this share.
    return Experiment(promotions, float(champion.mean() - always.mean() - sometimes.mean() / 2))


def _single_rounds(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for count, discordant, test, planned in itertools.product(
        options.problems, options.discordant, TESTS, options.planned
    ):
        gate = Gate(test=test, alpha=options.alpha, min_gain=options.min_gain)
        row = {"dev problems": count, "discordant": discordant, "test": test, "planned rounds": planned}
        for gain in options.gains:
            decisions = decided(
                count, gain, discordant, gate, planned_rounds=planned, draws=options.draws, seed=options.seed
            )
            row[f"+{100 * gain:g} points" if gain else "equal"] = decisions["promoted"] / options.draws
            if not gain:
                row["equal: stopped"] = decisions["regression"] / options.draws
        yield row


def _experiments(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if not options.experiments:
        return
    rules: Sequence[tuple[str, Gate | None]] = (
        ("whatever is higher", None),
        *((f"{test}, spending {way}", _gate(options, test, way)) for test in TESTS for way in ("none", "even")),
    )
    for name, gate in rules:
        source = np.random.default_rng(options.seed)
        done = [
            experiment(gate, source, options.dev_count, options.seed + number * EXPERIMENT_ROUNDS)
            for number in range(options.experiments)
        ]
        yield {
            "promotes": name,
            "experiments": len(done),
            "any promotion": sum(one.promotions > 0 for one in done) / len(done),
            "promotions": sum(one.promotions for one in done) / len(done),
            "last champion, dev minus test": float(np.mean([one.dev_minus_test for one in done])),
        }


def _gate(options: argparse.Namespace, test: str, spending: str) -> Gate:
    return Gate.model_validate({"test": test, "alpha": options.alpha, "spending": spending, "max_regression": None})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, nargs="+", default=(500, 1319, 5000), help="sizes of the dev set")
    parser.add_argument("--gains", type=float, nargs="+", default=(0.0, 0.03, 0.05, 0.10), help="true gains")
    parser.add_argument("--discordant", type=float, nargs="+", default=(0.1, 0.2, 0.3))
    parser.add_argument("--planned", type=int, nargs="+", default=(1, 5), help="rounds that alpha is spent over")
    parser.add_argument("--alpha", type=float, default=0.05, help="gate.alpha")
    parser.add_argument("--min-gain", type=float, default=0.0, help="gate.min_gain")
    parser.add_argument("--draws", type=int, default=1000, help="simulated rounds of every cell")
    parser.add_argument("--experiments", type=int, default=1000, help="simulated experiments of 20 rounds; 0 = none")
    parser.add_argument("--dev-count", type=int, default=600, help="dev problems of these experiments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
