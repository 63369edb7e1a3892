"""First pits against the computable truth, and models against each other, on hand-made rows."""

from __future__ import annotations

from typing import Any

import pytest

PIT = {
    "problem_id": "p",
    "step_count": 3,
    "is_confirmed": False,
}


def tried(pit: int | None) -> dict[str, list[int]]:
    """Counts of a linear search: up to the pit, or to the last step."""
    counts = [4, 4, 4] if pit is None else [*[4] * (pit - 1), 0]
    return {"pass_counts": counts, "draw_counts": [4] * len(counts)}


def outcomes(hand: Any, *pits: tuple[int | None, int | None]) -> list[str]:
    """Outcomes of first pits given as (found, truth)."""
    rows = [
        {**PIT, **tried(found), "rationale_id": f"w{number}", "first_pit_step": found, "true_wrong_step": truth}
        for number, (found, truth) in enumerate(pits)
    ]
    hand.put("first_pits", *rows)
    return [row["outcome"] for row in hand.rows("select outcome from int_pit_outcomes order by rationale_id")]


@pytest.mark.parametrize(
    ("found", "truth", "outcome"),
    [
        (2, 2, "exact"),
        (1, 2, "early"),
        (3, 2, "late"),
        (None, 2, "late"),
        (None, 4, "exact"),  # the answer line is wrong, which is not explored: no pit is what is right
        (3, 4, "early"),
    ],
)
def test_outcome_of_one_pit(hand: Any, found: int | None, truth: int, outcome: str) -> None:
    assert outcomes(hand, (found, truth)) == [outcome]


def test_pits_without_a_computable_truth_are_left_out(hand: Any) -> None:
    assert outcomes(hand, (1, None), (2, 2)) == ["exact"]


def test_what_was_not_explored_to_its_end_says_nothing(hand: Any) -> None:
    row = {**PIT, "first_pit_step": None, "true_wrong_step": 2}
    never = {**row, "rationale_id": "w0", "step_count": 0, "pass_counts": [], "draw_counts": []}
    half = {**row, "rationale_id": "w1", "pass_counts": [4], "draw_counts": [4]}
    hand.put("first_pits", never, half)
    assert hand.rows("from int_pit_outcomes") == []


def test_shares_by_step_and_in_total(hand: Any) -> None:
    outcomes(hand, (1, 1), (2, 2), (1, 2), (3, 2), (None, 4))
    hand.put("scores", {"model_id": "1/rft", "model": "rft", "accuracy": 0.7, "split": "dev"})
    hand.rollouts("w0", ["a", "b"], {1: [("x", False)] * 3})
    hand.stage("explore", token_count=10)
    rows = hand.rows("from pit_accuracy order by is_total, wrong_step nulls last")
    assert [(row["wrong_step"], row["rationale_count"]) for row in rows] == [(1, 1), (2, 3), (None, 1), (None, 5)]
    by_step = rows[1]
    assert (by_step["exact"], by_step["early"], by_step["late"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    total = rows[-1]
    assert total["is_total"]
    assert (total["exact"], total["early"], total["late"]) == pytest.approx((3 / 5, 1 / 5, 1 / 5))
    assert (total["k"], total["explorer_id"], total["explorer_accuracy"]) == (6, "1/rft", 0.7)
    assert total["rollouts_per_rationale"] == 8
    assert total["token_count"] == 10, "rationales may share draws: what the stage says it drew counts"


def test_models_are_compared_problem_by_problem(hand: Any) -> None:
    answers = {"1/rft": [True, True, False, False], "1/policy": [True, False, True, True]}
    hand.put(
        "evaluations",
        *(
            {"model_id": model, "split": "dev", "problem_id": f"p{number}", "is_correct_strict": is_correct}
            for model, verdicts in answers.items()
            for number, is_correct in enumerate(verdicts)
        ),
        # A problem that only one of them answered says nothing about the difference.
        {"model_id": "1/policy", "split": "dev", "problem_id": "alone", "is_correct_strict": True},
    )
    rows = {row["model_id"]: row for row in hand.rows("from int_paired_outcomes")}
    policy = rows["1/policy"]
    assert (policy["baseline_id"], policy["gained"], policy["lost"], policy["problem_count"]) == ("1/rft", 2, 1, 4)
    assert (rows["1/rft"]["gained"], rows["1/rft"]["lost"]) == (1, 2)
