"""The gate: what it decides and in which order, and how often it is wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfexplore_tasks.gating import Decision, PairedOutcome, decide, round_alpha
from selfexplore_tasks.recipe import Gate
from selfexplore_tasks.statistics import bootstrap_differences, mcnemar_p

GUARD = {"benchmark": "svamp", "max_loss": 0.02}
BETTER = PairedOutcome(problem_count=600, gained=60, lost=20)
SAME_ON_GUARD = {"svamp": PairedOutcome(problem_count=100, gained=3, lost=3)}


def gate(**changed: Any) -> Gate:
    return Gate.model_validate(changed)


def decision(main: PairedOutcome, rule: Gate, *, planned: int = 1, **guards: PairedOutcome) -> Decision:
    return decide(main, guards, rule, planned_rounds=planned, seed=1)


@pytest.mark.parametrize("test", ["bootstrap", "mcnemar"])
@pytest.mark.parametrize(
    ("gained", "lost", "changed", "expected", "reason"),
    [
        (60, 20, {}, "promoted", "better: +6.7 points on 600 dev problems ["),
        (60, 20, {"min_gain": 0.03}, "promoted", "better by more than 3 points: +6.7 points"),
        (60, 20, {"min_gain": 0.05}, "kept", "not surely better: +6.7 points"),
        (31, 20, {"alpha": 0.01}, "kept", "not surely better: +1.8 points"),
        (40, 40, {}, "kept", "no better: +0.0 points"),
        (0, 0, {"alpha": 0.49}, "kept", "solves the same problems: +0.0 points"),
        (20, 80, {}, "kept", "no better: -10.0 points"),
        (20, 81, {}, "regression", "lost more than 10 points: -10.2 points"),
        (20, 81, {"max_regression": None}, "kept", "no better"),
    ],
)
def test_it_decides_on_what_both_answered(
    test: str, gained: int, lost: int, changed: dict[str, Any], expected: str, reason: str
) -> None:
    found = decision(PairedOutcome(600, gained, lost), gate(test=test, **changed))
    assert (found.decision, found.reason[: len(reason)]) == (expected, reason)
    assert found.is_promoted is (expected == "promoted")
    assert found.gain == pytest.approx((gained - lost) / 600)
    assert found.gain_low <= found.gain <= found.gain_high


def test_the_bootstrap_is_the_stricter_of_two_tests() -> None:
    main = PairedOutcome(600, 12, 5)
    exact, drawn = decision(main, gate(test="mcnemar")), decision(main, gate(test="bootstrap"))
    assert (exact.is_promoted, drawn.is_promoted) == (True, False)
    assert exact.p_value == pytest.approx(mcnemar_p(12, 5))
    differences = bootstrap_differences(12, 5, 600, seed=1)
    assert drawn.p_value == float(np.mean(differences <= 0))
    quantiles = np.quantile(differences, [0.05, 0.95])
    assert (drawn.gain_low, drawn.gain_high) == (exact.gain_low, exact.gain_high) == pytest.approx(quantiles)


def test_the_reason_has_every_number() -> None:
    found = decision(BETTER, gate(), planned=5)
    numbers = f"[{100 * found.gain_low:+.1f}, {100 * found.gain_high:+.1f}], p = {found.p_value:.2g} against 0.01"
    assert found.reason == f"better: +6.7 points on 600 dev problems {numbers}"


@pytest.mark.parametrize(
    ("main", "on_guard", "expected"),
    [
        (BETTER, (1, 3), "promoted"),
        (BETTER, (1, 4), "guarded"),
        (PairedOutcome(600, 40, 40), (1, 4), "guarded"),
        (PairedOutcome(600, 0, 90), (1, 4), "regression"),
    ],
)
def test_a_guard_holds_a_gain_back_and_a_regression_comes_first(
    main: PairedOutcome, on_guard: tuple[int, int], expected: str
) -> None:
    found = decision(main, gate(guards=[GUARD]), svamp=PairedOutcome(100, *on_guard))
    assert found.decision == expected
    assert ("lost 3.0 points on svamp, more than 2, whatever the gain:" in found.reason) is (expected == "guarded")


@pytest.mark.parametrize("guards", [{}, {"other": BETTER}, {"svamp": PairedOutcome(0, 0, 0)}])
def test_a_guard_that_was_not_measured_is_an_error(guards: dict[str, PairedOutcome]) -> None:
    with pytest.raises(ValueError, match="svamp was not measured"):
        decide(BETTER, guards, gate(guards=[GUARD]), planned_rounds=1, seed=1)


def test_no_dev_problem_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs dev problems"):
        decision(PairedOutcome(0, 0, 0), gate())


@pytest.mark.parametrize(("spending", "planned", "expected"), [("even", 5, 0.01), ("even", 1, 0.05), ("none", 5, 0.05)])
def test_alpha_is_spent_over_the_planned_rounds(spending: str, planned: int, expected: float) -> None:
    rule = gate(spending=spending)
    assert round_alpha(rule, planned) == pytest.approx(expected)
    assert decision(BETTER, rule, planned=planned).alpha_spent == pytest.approx(expected)


def test_the_longest_experiment_can_still_promote() -> None:
    assert decision(PairedOutcome(600, 60, 10), gate(), planned=1000).is_promoted


@st.composite
def outcomes(draw: st.DrawFn) -> PairedOutcome:
    count = draw(st.integers(1, 400))
    gained = draw(st.integers(0, count))
    return PairedOutcome(count, gained, draw(st.integers(0, count - gained)))


rules = st.builds(
    Gate,
    test=st.sampled_from(["bootstrap", "mcnemar"]),
    alpha=st.sampled_from([0.01, 0.05, 0.2, 0.49]),
    min_gain=st.sampled_from([0.0, 0.01, 0.1]),
    max_regression=st.sampled_from([None, 0.05, 1.0]),
)


@settings(max_examples=150, deadline=None)
@given(main=outcomes(), rule=rules, planned=st.integers(1, 1000))
def test_what_is_stored_explains_the_decision(main: PairedOutcome, rule: Gate, planned: int) -> None:
    found = decision(main, rule, planned=planned)
    assert found == decision(main, rule, planned=planned)
    assert 0 <= found.p_value <= 1
    regressed = rule.max_regression is not None and found.gain < -rule.max_regression
    assert (found.decision == "regression") is regressed
    surely = found.p_value <= found.alpha_spent and found.gain > rule.min_gain
    assert found.is_promoted is (surely and not regressed)
    if found.is_promoted:
        assert main.gained > main.lost
        if rule.test == "bootstrap":
            assert found.gain_low > rule.min_gain


@given(main=outcomes(), alpha=st.sampled_from([0.01, 0.05, 0.2]), min_gain=st.sampled_from([0.0, 0.01, 0.1]))
def test_losing_one_problem_less_never_costs_the_promotion(main: PairedOutcome, alpha: float, min_gain: float) -> None:
    rule = gate(test="mcnemar", alpha=alpha, min_gain=min_gain)
    if main.lost and decision(main, rule).is_promoted:
        assert decision(PairedOutcome(main.problem_count, main.gained, main.lost - 1), rule).is_promoted


# Few problems, few that differ and a small alpha: where a bare percentile bootstrap promotes up to 1.9 times too often.
@pytest.mark.parametrize("test", ["bootstrap", "mcnemar"])
@pytest.mark.parametrize(
    ("count", "discordant", "gain", "planned", "rounds", "allowed"),
    [
        (600, 0.2, 0.0, 1, 1_000, 0.065),
        (30, 0.2, 0.0, 20, 200_000, 0.00275),
        (80, 0.08, 0.01, 5, 100_000, 0.012),
    ],
)
def test_no_better_a_model_is_promoted_no_more_often_than_stated(
    test: str, count: int, discordant: float, gain: float, planned: int, rounds: int, allowed: float
) -> None:
    rule = gate(test=test, min_gain=gain, max_regression=None)
    shares = [(discordant + gain) / 2, (discordant - gain) / 2, 1 - discordant]
    drawn = np.random.default_rng(7).multinomial(count, shares, size=rounds).tolist()
    times = Counter((gained, lost) for gained, lost, _ in drawn)
    promoted = sum(
        number
        for (gained, lost), number in times.items()
        if gained > lost and decision(PairedOutcome(count, gained, lost), rule, planned=planned).is_promoted
    )
    assert 0 < promoted / rounds <= allowed
