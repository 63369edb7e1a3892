"""Exploring rationales: what the engine is asked for, shared and kept. (With a real model: test_explore.)"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripted_engine import ScriptedEngine
from selfexplore_tasks import recipe
from selfexplore_tasks.engines.protocol import Engine
from selfexplore_tasks.exploration import MIN_ROOM, Exploration, Explorer, WrongRationale, cut_to_context
from selfexplore_tasks.grading import Grader
from selfexplore_tasks.prompts import PromptFormat

STEPS = ("18 + 8 = 26\n", "26 - 4 = 23\n", "23 + 1 = 24\n")
HIT, MISS = "The answer is 23", "The answer is 9"


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
