"""The search for a first pit: what is tried, what is drawn, and where it ends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfexplore_tasks import recipe
from selfexplore_tasks.pit_search import RECOVERY, Draws, run_search

LINEAR, BINARY, NOISY = SEARCHES = "linear", "binary", "noisy_binary"

# Whether draw i (from 0) after a step (from 1) is correct.
Draw = Callable[[int, int], bool]


def search(step_count: int, is_correct: Draw, **settings: object) -> tuple[int | None, list[Draws]]:
    """Run one search over made-up draws; returns the pit and everything that was asked for."""

    def count_correct(wanted: Draws) -> int:
        indices = range(wanted.first_index, wanted.first_index + wanted.count)
        return sum(is_correct(wanted.step, index) for index in indices)

    return run_search(step_count, recipe.Explore.model_validate(settings), count_correct)


def counts(asked: Sequence[Draws]) -> dict[int, int]:
    """Rollouts drawn per step; also checks that no draw is asked for twice and none left out."""
    drawn: Counter[int] = Counter()
    for wanted in asked:
        assert (wanted.first_index, wanted.count > 0) == (drawn[wanted.step], True)
        drawn[wanted.step] += wanted.count
    return dict(drawn)


def good_until(last_good: int) -> Draw:
    """Every draw up to step ``last_good`` is correct, none after it."""
    return lambda step, _: step <= last_good


def test_linear_stops_at_the_first_step_without_a_correct_rollout() -> None:
    pit, asked = search(9, good_until(3), k=4)
    assert (pit, counts(asked)) == (4, {1: 4, 2: 4, 3: 4, 4: 4})


@pytest.mark.parametrize("how", SEARCHES)
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("confirm", [False, True])
def test_the_edges(how: str, adaptive: bool, confirm: bool) -> None:
    settings = {"search": how, "adaptive": adaptive, "confirm": confirm, "k": 3}
    failed = 6 if confirm else 3
    assert search(0, good_until(0), **settings) == (None, [])
    assert search(1, good_until(1), **settings)[0] is None
    pit, asked = search(1, good_until(0), **settings)
    assert (pit, counts(asked)) == (1, {1: failed})
    pit, asked = search(300, good_until(0), **settings)
    assert (pit, counts(asked)[1]) == (1, failed)
    pit, asked = search(300, good_until(300), **settings)
    assert (pit, counts(asked)[300]) == (None, 1 if adaptive or how == NOISY else 3)


def test_confirm_tests_a_failed_step_again_and_goes_on_where_that_passes() -> None:
    late = {(2, 5)}
    pit, asked = search(4, lambda step, index: step == 1 or (step, index) in late, k=4, confirm=True)
    assert (pit, counts(asked)) == (3, {1: 4, 2: 8, 3: 8})
    assert asked[1:3] == [Draws(2, 0, 4), Draws(2, 4, 4)]
    assert search(4, lambda step, index: step == 1 or (step, index) in late, k=4)[0] == 2


def test_adaptive_draws_one_by_one_and_tops_up_only_before_the_pit() -> None:
    right = {(1, 0), (2, 3), (3, 0)}
    pit, asked = search(9, lambda step, index: (step, index) in right, k=4, adaptive=True)
    assert pit == 4
    assert asked == [
        Draws(1, 0, 1),
        *(Draws(2, 0, 1), Draws(2, 1, 1), Draws(2, 2, 2)),
        Draws(3, 0, 1),
        *(Draws(4, 0, 1), Draws(4, 1, 1), Draws(4, 2, 2)),
        Draws(3, 1, 3),
    ]


@pytest.mark.parametrize(("k", "drawn"), [(1, [1]), (2, [1, 1]), (5, [1, 1, 2, 1]), (8, [1, 1, 2, 4])])
def test_adaptive_doubles_up_to_k_and_confirming_up_to_twice_k(k: int, drawn: list[int]) -> None:
    assert [one.count for one in search(1, good_until(0), k=k, adaptive=True)[1]] == drawn
    confirmed = search(1, good_until(0), k=3, adaptive=True, confirm=True)[1]
    assert [one.count for one in confirmed] == [1, 1, 1, 1, 2]


def test_adaptive_with_one_rollout_draws_one() -> None:
    assert search(3, good_until(1), k=1, adaptive=True)[1] == [Draws(1, 0, 1), Draws(2, 0, 1)]


def test_binary_halves() -> None:
    pit, asked = search(300, good_until(171), k=2, search=BINARY)
    assert pit == 172
    assert len(asked) <= 9
    assert {171, 172} <= set(counts(asked))


def test_binary_skips_a_recovery_that_linear_would_not_reach_either() -> None:
    """Steps 2 and 5 fail, 3 and 4 recover: linear finds 2, binary may find 5, and then step 4 was tried."""
    failing = {2, 5, 6, 7, 8}
    assert search(8, lambda step, _: step not in failing, k=1)[0] == 2
    assert search(8, lambda step, _: step not in failing, k=1, search=BINARY)[0] == 5


def test_noisy_binary_begins_at_step_1_and_strides_farther_with_every_success() -> None:
    pit, asked = search(300, good_until(300), k=4, search=NOISY)
    assert (pit, [one.step for one in asked]) == (None, [1, 4, 11, 27, 64, 151, 300])
    assert search(300, good_until(0), k=4, search=NOISY)[1] == [Draws(1, index, 1) for index in range(4)]


def test_noisy_binary_leaves_a_step_undecided_where_a_later_one_passes() -> None:
    """Linear takes step 4 for the pit. Here it fails once, and step 5 is tried before it has failed four times."""
    right = {(1, 0), (2, 0), (3, 0), (5, 0)}
    pit, asked = search(6, lambda step, index: (step, index) in right, k=4, search=NOISY, top_up=False)
    assert (pit, counts(asked)) == (6, {1: 1, 4: 1, 2: 1, 3: 1, 5: 1, 6: 4})
    assert search(6, lambda step, index: (step, index) in right, k=4)[0] == 4


def told(places: dict[int, float], step: int) -> float:
    """What one rollout after ``step`` tells about the pit's place, in nats; ``places`` are its likely ones."""
    joint = {
        (place, is_correct): share * (chance if is_correct else 1 - chance)
        for place, share in places.items()
        for chance in [RECOVERY if place > step else 0.0]
        for is_correct in (False, True)
    }
    outcome = {done: sum(p for (_, one), p in joint.items() if one == done) for done in (False, True)}
    return sum(p * math.log(p / (places[place] * outcome[done])) for (place, done), p in joint.items() if p > 0)


TABLES = st.lists(st.lists(st.booleans(), min_size=8, max_size=8), max_size=12)


@given(TABLES, st.integers(1, 4), st.booleans(), st.sampled_from([LINEAR, BINARY]))
def test_adaptive_finds_the_same_pit_and_never_draws_more(
    table: list[list[bool]], k: int, confirm: bool, how: str
) -> None:
    settings = {"k": k, "confirm": confirm, "search": how}
    plain_pit, plain = search(len(table), lambda step, index: table[step - 1][index], **settings)
    pit, saving = search(len(table), lambda step, index: table[step - 1][index], adaptive=True, **settings)
    assert pit == plain_pit
    drawn, drawn_plain = counts(saving), counts(plain)
    assert drawn.keys() == drawn_plain.keys()
    assert all(drawn[step] <= drawn_plain[step] for step in drawn)
    if pit is not None and pit > 1:
        assert drawn[pit - 1] == drawn_plain[pit - 1]


@given(TABLES, st.integers(1, 4), st.booleans(), st.sampled_from(SEARCHES))
def test_confirm_finds_the_pit_of_twice_as_many_rollouts(
    table: list[list[bool]], k: int, adaptive: bool, how: str
) -> None:
    settings = {"adaptive": adaptive, "search": how}
    confirmed, asked = search(len(table), lambda step, index: table[step - 1][index], k=k, confirm=True, **settings)
    twice, asked_twice = search(len(table), lambda step, index: table[step - 1][index], k=2 * k, **settings)
    assert confirmed == twice
    assert sum(counts(asked).values()) <= sum(counts(asked_twice).values())


@given(TABLES, st.integers(1, 4), st.booleans(), st.booleans(), st.booleans(), st.sampled_from(SEARCHES))
def test_the_pit_failed_every_draw_and_its_predecessor_passed(
    table: list[list[bool]], k: int, confirm: bool, adaptive: bool, top_up: bool, how: str
) -> None:
    settings = {"k": k, "confirm": confirm, "search": how, "adaptive": adaptive, "top_up": top_up}
    pit, asked = search(len(table), lambda step, index: table[step - 1][index], **settings)
    drawn, most = counts(asked), 2 * k if confirm else k
    passed = {step for step, count in drawn.items() if any(table[step - 1][:count])}
    last = max(passed, default=0)
    assert pit == min((step for step in drawn if step > last), default=None)
    assert all(drawn[step] == most for step in drawn.keys() - passed if step == pit or how != NOISY)
    assert max(drawn.values(), default=0) <= most
    if pit is not None and pit > 1:
        assert pit - 1 in passed
    if pit is None and table:
        assert len(table) in passed


@given(TABLES, st.integers(1, 4), st.booleans(), st.booleans(), st.sampled_from(SEARCHES))
def test_without_top_up_only_rollouts_before_the_pit_are_left_out(
    table: list[list[bool]], k: int, confirm: bool, adaptive: bool, how: str
) -> None:
    settings = {"k": k, "confirm": confirm, "search": how, "adaptive": adaptive}
    pit, topped = search(len(table), lambda step, index: table[step - 1][index], **settings)
    same, asked = search(len(table), lambda step, index: table[step - 1][index], top_up=False, **settings)
    assert (same, asked) == (pit, topped[: len(asked)])
    assert {one.step for one in topped[len(asked) :]} <= {(pit or 0) - 1}
    if not adaptive and how != NOISY:
        assert asked == topped
    if pit is not None and pit > 1:
        assert counts(topped)[pit - 1] == (2 * k if not any(table[pit - 2][:k]) else k)


@given(
    st.lists(st.lists(st.booleans(), min_size=4, max_size=4).filter(any), max_size=8),
    st.integers(0, 8),
    st.sampled_from([BINARY, NOISY]),
)
def test_every_search_finds_the_pit_where_failed_steps_stay_failed(
    passing: list[list[bool]], failing: int, how: str
) -> None:
    table = [*passing, *[[False] * 4] * failing]
    pit, _ = search(len(table), lambda step, index: table[step - 1][index], k=4, search=how)
    assert pit == search(len(table), lambda step, index: table[step - 1][index], k=4)[0]
    assert pit == (len(passing) + 1 if failing else None)


@given(TABLES, st.integers(1, 4), st.sampled_from([BINARY, NOISY]))
def test_no_search_finds_an_earlier_pit_than_step_by_step(table: list[list[bool]], k: int, how: str) -> None:
    linear, _ = search(len(table), lambda step, index: table[step - 1][index], k=k)
    pit, _ = search(len(table), lambda step, index: table[step - 1][index], k=k, search=how)
    assert (pit or len(table) + 1) >= (linear or len(table) + 1)


@given(TABLES, st.integers(1, 8))
def test_noisy_binary_draws_where_a_rollout_tells_most(table: list[list[bool]], k: int) -> None:
    """Against Bayes' rule over all places of the pit, with what each outcome tells counted out."""
    places = {step: 1 / step - 1 / (step + 1) for step in range(1, len(table) + 1)} | {
        len(table) + 1: 1 / (len(table) + 1)
    }
    wrong: Counter[int] = Counter()
    for wanted in search(len(table), lambda step, index: table[step - 1][index], k=k, search=NOISY, top_up=False)[1]:
        total = sum(places.values())
        places = {place: share / total for place, share in places.items()}
        best = {step: told(places, step) for step in range(min(places), max(places))}
        assert best[wanted.step] == pytest.approx(max(best.values()), abs=1e-8)
        if table[wanted.step - 1][wanted.first_index]:
            places = {place: share for place, share in places.items() if place > wanted.step}
            continue
        wrong[wanted.step] += 1
        places = {place: share * (1 - RECOVERY if place > wanted.step else 1) for place, share in places.items()}
        if wrong[wanted.step] == k:
            places = {place: share for place, share in places.items() if place <= wanted.step}
