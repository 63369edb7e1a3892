"""The search for a first pit: what is tried, what is drawn, and where it ends. (With a real model: test_explore.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripted_engine import ScriptedEngine
from selfexplore_tasks import recipe
from selfexplore_tasks.engines.protocol import Engine
from selfexplore_tasks.exploration import (
    MIN_ROOM,
    Draws,
    Exploration,
    Explorer,
    WrongRationale,
    cut_to_context,
    search_pit,
)
from selfexplore_tasks.grading import Grader
from selfexplore_tasks.prompts import PromptFormat

STEPS = ("18 + 8 = 26\n", "26 - 4 = 23\n", "23 + 1 = 24\n")
HIT, MISS = "The answer is 23", "The answer is 9"
LINEAR, BINARY = "linear", "binary"

# Whether draw i (from 0) after a step (from 1) is correct.
Draw = Callable[[int, int], bool]


def search(step_count: int, is_correct: Draw, **settings: object) -> tuple[int | None, list[Draws]]:
    """Run one search over made-up draws; returns the pit and everything that was asked for."""
    steps = search_pit(step_count, recipe.Explore.model_validate(settings))
    asked: list[Draws] = []
    reply: int | None = None
    while True:
        try:
            wanted = steps.send(reply)  # type: ignore[arg-type]
        except StopIteration as end:
            return end.value, asked
        asked.append(wanted)
        indices = range(wanted.first_index, wanted.first_index + wanted.count)
        reply = sum(is_correct(wanted.step, index) for index in indices)


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


@pytest.mark.parametrize("how", [LINEAR, BINARY])
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
    assert (pit, counts(asked)[300]) == (None, 1 if adaptive else 3)


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


@given(TABLES, st.integers(1, 4), st.booleans(), st.sampled_from([LINEAR, BINARY]))
def test_confirm_finds_the_pit_of_twice_as_many_rollouts(
    table: list[list[bool]], k: int, adaptive: bool, how: str
) -> None:
    settings = {"adaptive": adaptive, "search": how}
    confirmed, asked = search(len(table), lambda step, index: table[step - 1][index], k=k, confirm=True, **settings)
    twice, asked_twice = search(len(table), lambda step, index: table[step - 1][index], k=2 * k, **settings)
    assert confirmed == twice
    assert sum(counts(asked).values()) <= sum(counts(asked_twice).values())


@given(TABLES, st.integers(1, 4), st.booleans(), st.booleans(), st.sampled_from([LINEAR, BINARY]))
def test_the_pit_failed_every_draw_and_its_predecessor_passed(
    table: list[list[bool]], k: int, confirm: bool, adaptive: bool, how: str
) -> None:
    settings = {"k": k, "confirm": confirm, "search": how, "adaptive": adaptive}
    pit, asked = search(len(table), lambda step, index: table[step - 1][index], **settings)
    drawn = counts(asked)
    failing = {step for step, count in drawn.items() if not any(table[step - 1][:count])}
    assert pit == min(failing, default=None)
    assert all(drawn[step] == (2 * k if confirm else k) for step in failing)
    if pit is not None and pit > 1:
        assert pit - 1 in drawn
    if pit is None and table:
        assert len(table) in drawn


def explore(
    engine: Engine, model_dir: Path, *wrong: WrongRationale, on_done: Callable[[int], None] = int, **settings: object
) -> list[Exploration]:
    explore_settings = recipe.Explore.model_validate(settings)
    with Grader(answer_phrase="The answer is") as grader:
        prompts = PromptFormat(recipe.Prompt(), model_dir)
        return Explorer(engine, prompts, grader, explore_settings, (), 0).explore(wrong, on_done)


def rationale(gold: str = "23", name: str = "w", steps: tuple[str, ...] = STEPS, problem: str = "p") -> WrongRationale:
    return WrongRationale(name, problem, "How many?", gold, steps)


def draws(found: Exploration) -> list[tuple[int, int, bool]]:
    return [(rollout.step, rollout.index, rollout.grade.is_correct_strict) for rollout in found.rollouts]


def test_rollouts_are_graded_and_kept_in_order(tiny_model_dir: Path) -> None:
    engine = ScriptedEngine([[MISS, HIT], [MISS, "26 - 4 = 22"]])
    (found,) = explore(engine, tiny_model_dir, rationale(), k=2)
    assert (found.first_pit_step, found.rationale) == (2, rationale())
    assert draws(found) == [(1, 0, False), (1, 1, True), (2, 0, False), (2, 1, False)]


def test_all_k_rollouts_are_drawn_and_counted(tiny_model_dir: Path) -> None:
    """The published code takes four rollouts for granted: here the seventh of seven is right."""
    engine = ScriptedEngine([[MISS] * 6 + [HIT], [MISS] * 7])
    (found,) = explore(engine, tiny_model_dir, rationale(), k=7)
    assert (found.first_pit_step, engine.requests[0][0].n, len(found.rollouts)) == (2, 7, 14)


@pytest.mark.parametrize(("temperature", "k"), [(0.2, 3), (1.3, 5)])
def test_the_temperature_does_not_change_the_number_of_rollouts(
    temperature: float, k: int, tiny_model_dir: Path
) -> None:
    """In the published code any temperature but 0.7 silently means one sample."""
    engine = ScriptedEngine([["no answer"] * k])
    (found,) = explore(engine, tiny_model_dir, rationale(), k=k, temperature=temperature)
    request = engine.requests[0][0]
    assert (request.temperature, request.n, len(found.rollouts)) == (temperature, k, k)


@pytest.mark.parametrize("gold", ["1,080", "1080"])
@pytest.mark.parametrize("answer", ["1080", "1,080", "$1,080", "1080.0"])
def test_a_gold_answer_with_a_comma_is_no_false_pit(gold: str, answer: str, tiny_model_dir: Path) -> None:
    """In the published code 79 of GSM8K's golds give a false pit at step 1."""
    engine = ScriptedEngine([[f"The answer is {answer}"], [""]])
    (found,) = explore(engine, tiny_model_dir, rationale(gold), k=1)
    assert draws(found) == [(1, 0, True), (2, 0, False)]


def test_rationales_advance_together_and_a_draw_depends_on_its_own_alone(tiny_model_dir: Path) -> None:
    finished: list[int] = []
    other, none = rationale(name="other", problem="q", steps=STEPS[:1]), rationale(name="none", steps=())
    engine, alone = ScriptedEngine([[HIT]] * 3), ScriptedEngine([[HIT]] * 3)
    found = explore(engine, tiny_model_dir, rationale(), other, none, on_done=finished.append, k=1)
    assert [len(requests) for requests in engine.requests] == [2, 1, 1]
    assert sum(finished) == 3
    assert [one.rationale.rationale_id for one in found] == ["w", "other", "none"]
    assert found[:1] == explore(alone, tiny_model_dir, rationale(), k=1)
    assert [requests[0] for requests in engine.requests] == [requests[0] for requests in alone.requests]
    assert len({request.seed for requests in engine.requests for request in requests}) == 4


def test_a_search_goes_on_while_others_wait_where_the_engine_allows_it(tiny_model_dir: Path) -> None:
    other = rationale(name="other", problem="q")
    engine = ScriptedEngine([[HIT]] * 6, is_continuous=True)
    explore(engine, tiny_model_dir, rationale(), other, k=1)
    assert [len(requests) for requests in engine.requests] == [2, 1, 1, 1, 1]


def test_the_same_first_steps_are_explored_once(tiny_model_dir: Path) -> None:
    """Two rationales of a problem part after their second step; one of another problem has the same steps."""
    parted = rationale(name="x", steps=(*STEPS[:2], "23 - 1 = 22\n"))
    foreign = rationale(name="y", problem="q")
    engine = ScriptedEngine([[MISS, HIT]] * 3)
    found = explore(engine, tiny_model_dir, rationale(), parted, foreign, k=2)
    asked = [[request.prompt_token_ids for request in requests] for requests in engine.requests]
    assert [len(prompts) for prompts in asked] == [2, 2, 3]
    assert asked[0][0] == asked[0][1], "the prompts are equal, the problems are not"
    assert len({request.seed for requests in engine.requests for request in requests}) == 7
    assert draws(found[0]) == draws(found[1]) == draws(found[2])
    assert found[1].rationale == parted, "each keeps rows of its own"


def test_nothing_to_explore_asks_the_engine_nothing(tiny_model_dir: Path) -> None:
    engine = ScriptedEngine([])
    assert explore(engine, tiny_model_dir) == []
    assert explore(engine, tiny_model_dir, rationale(steps=()))[0].rollouts == []
    assert engine.requests == []


def test_steps_after_which_no_rollout_fits_are_not_explored(tiny_model_dir: Path) -> None:
    prompts = PromptFormat(recipe.Prompt(), tiny_model_dir)
    whole = WrongRationale("w", "p", "How many?", "23", STEPS)
    two_steps = len(prompts.prompt_ids(whole.question, whole.prefix(2)))
    (cut,) = cut_to_context([whole], prompts, two_steps + MIN_ROOM)
    assert cut.steps == STEPS[:2]
    assert cut_to_context([whole], prompts, 10_000) == cut_to_context([whole], prompts, None) == [whole]
    (nothing,) = cut_to_context([whole], prompts, MIN_ROOM)
    assert nothing.steps == ()
