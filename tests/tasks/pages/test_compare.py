"""Two rounds side by side."""

from __future__ import annotations

import pytest

from hand_rounds import DEV, OTHER, SLUG, TEST, HandRounds
from selfexplore_tasks.pages.compare import compare_page
from selfexplore_tasks.pages.experiment import experiment_page
from selfexplore_tasks.pages.reader import Reader
from selfexplore_tasks.pages.snapshot import NotFound
from selfexplore_tasks.store.forks import fork_experiment


@pytest.fixture
def reader(hand: HandRounds) -> Reader:
    """Round 1 solves 30 dev problems instead of 20, and 15 of the test problems; a fork goes on from round 0."""
    fork_experiment(hand.store, SLUG, 0, "fork")
    hand.round(1, {DEV: 30, TEST: 15})
    hand.finish(1)
    return Reader(hand.store)


def test_differences_are_right_minus_left(reader: Reader) -> None:
    page = compare_page(reader, (SLUG, 0), (SLUG, 1))
    assert (page.left.model_id, page.right.model_id) == ("0/sft", "1/policy")
    shown = {
        (one.benchmark, one.split): (one.gained, one.lost, one.difference, one.problem_count)
        for one in page.differences
    }
    assert shown == {DEV: (10, 0, 0.25, 40), TEST: (0, 5, -0.125, 40), OTHER: (0, 0, 0.0, 40)}


def test_intervals_are_those_of_the_gate(reader: Reader) -> None:
    stored = {
        (arm.benchmark, arm.split): (arm.low, arm.high)
        for arm in experiment_page(reader, SLUG).arms
        if (arm.model_id, arm.baseline_id) == ("1/policy", "0/sft")
    }
    shown = compare_page(reader, (SLUG, 0), (SLUG, 1)).differences
    assert {(one.benchmark, one.split): (one.low, one.high) for one in shown} == stored


def test_flipped_problems_are_told(reader: Reader) -> None:
    page = compare_page(reader, (SLUG, 0), (SLUG, 1))
    assert page.total == 15
    won = [row.problem_id for row in page.flipped if row.is_right_correct]
    lost = [row.problem_id for row in page.flipped if row.is_left_correct]
    assert won == [f"arithmetic-dev-{number:02d}" for number in range(20, 30)]
    assert lost == [f"arithmetic-test-{number:02d}" for number in range(15, 20)]
    assert (page.flipped[0].question, page.flipped[0].gold_answer) == ("arithmetic dev 20?", "3")


def test_flipped_problems_are_filtered_and_paged(reader: Reader) -> None:
    tests = compare_page(reader, (SLUG, 0), (SLUG, 1), split="test", benchmark="arithmetic", offset=3, limit=10)
    assert tests.total == 5
    assert [row.problem_id for row in tests.flipped] == ["arithmetic-test-18", "arithmetic-test-19"]
    assert len(tests.differences) == 3, "the differences stay whole"
    assert compare_page(reader, (SLUG, 0), (SLUG, 1), benchmark="other").total == 0


def test_two_experiments_can_be_compared(reader: Reader) -> None:
    page = compare_page(reader, ("fork", 0), (SLUG, 1))
    assert page.total == 15
    assert {(one.gained, one.lost) for one in page.differences} == {(10, 0), (0, 5), (0, 0)}
    back = compare_page(reader, (SLUG, 1), ("fork", 0))
    assert {one.difference for one in back.differences} == {-0.25, 0.125, 0.0}


def test_a_round_with_itself_is_equal(reader: Reader) -> None:
    page = compare_page(reader, (SLUG, 1), (SLUG, 1))
    assert (page.total, {one.difference for one in page.differences}) == (0, {0.0})


@pytest.mark.parametrize("side", [("nobody", 0), (SLUG, 2), (SLUG, -1), ("..", 0)])
def test_what_was_not_evaluated_is_not_found(reader: Reader, side: tuple[str, int]) -> None:
    with pytest.raises(NotFound):
        compare_page(reader, side, (SLUG, 1))
