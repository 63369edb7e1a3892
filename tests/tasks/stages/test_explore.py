"""Exploring with scripted rollouts: where it stops, what it draws, and how it grades."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from selfexplore_tasks.engines.protocol import Completion, GenerationRequest
from selfexplore_tasks.grading import Grader
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.stages.chunks import Rows
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.explore import WrongRationale, _Explorer
from selfexplore_tasks.store.experiments import Experiment
from selfexplore_tasks.store.home import Store

RECIPE = {
    "name": "scripted",
    "description": "Only exploring.",
    "problems": {"train": {"kind": "arithmetic", "count": 10}},
    "model": {"path": "nowhere"},
    "sft": None,
}
STEPS = ("18 + 8 = 26\n", "26 - 4 = 23\n", "23 + 1 = 24\n")


class ScriptedEngine:
    """Completes every prompt with the texts that the script has for the number of steps in it."""

    name = "scripted"

    def __init__(self, script: dict[int, list[str]]) -> None:
        self._script = script
        self.requests: list[list[GenerationRequest]] = []

    def generate(
        self, requests: Sequence[GenerationRequest], on_progress: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        self.requests.append(list(requests))
        texts = self._script[len(self.requests)]
        return [[Completion(text, (1, 2, 0), "stop", -0.1) for text in texts[: request.n]] for request in requests]

    def close(self) -> None:
        pass


def explore(
    script: dict[int, list[str]], model_dir: Path, *wrong: WrongRationale, **settings: object
) -> tuple[Rows, ScriptedEngine]:
    recipe = Recipe.model_validate({**RECIPE, "explore": settings})
    context = StageContext(Store(Path("unused")), Experiment("e", recipe, "hash", "now"), 1, "explore")
    engine = ScriptedEngine(script)
    prompts = PromptFormat(recipe.prompt, model_dir)
    with Grader(answer_phrase=recipe.prompt.answer_phrase) as grader:
        explorer = _Explorer(context, prompts, engine, grader)
        return explorer.explore(wrong, Progress("explore", len(wrong), "rationales")), engine


def rationale(gold: str = "23", name: str = "w", steps: tuple[str, ...] = STEPS) -> WrongRationale:
    return WrongRationale(name, "p", "How many?", gold, steps)


def test_it_stops_at_the_first_step_that_no_rollout_recovers_from(tiny_model_dir: Path) -> None:
    script = {1: ["The answer is 9", "The answer is 23"], 2: ["The answer is 9", "26 - 4 = 22"], 3: []}
    rows, engine = explore(script, tiny_model_dir, rationale(), k=2)
    assert [(row["step_index"], row["rollout_index"], row["is_correct"]) for row in rows] == [
        (1, 0, False),
        (1, 1, True),
        (2, 0, False),
        (2, 1, False),
    ]
    assert len(engine.requests) == 2
    assert [row["prefix"] for row in rows[1:3]] == [STEPS[0], STEPS[0] + STEPS[1]]
    assert {row["step_count"] for row in rows} == {3}


def test_it_ends_with_the_last_step_where_there_is_no_pit(tiny_model_dir: Path) -> None:
    rows, engine = explore({step: ["The answer is 23"] for step in (1, 2, 3)}, tiny_model_dir, rationale(), k=1)
    assert [row["step_index"] for row in rows] == [1, 2, 3]
    assert len(engine.requests) == 3


def test_all_k_rollouts_are_drawn_and_counted(tiny_model_dir: Path) -> None:
    """The published code takes four rollouts for granted: here the seventh of seven is right."""
    script = {1: ["The answer is 9"] * 6 + ["The answer is 23"], 2: ["The answer is 9"] * 7}
    rows, engine = explore(script, tiny_model_dir, rationale(), k=7)
    assert engine.requests[0][0].n == 7
    assert [row["step_index"] for row in rows] == [1] * 7 + [2] * 7


@pytest.mark.parametrize(("temperature", "k"), [(0.2, 3), (1.3, 5)])
def test_the_temperature_does_not_change_the_number_of_rollouts(
    temperature: float, k: int, tiny_model_dir: Path
) -> None:
    """In the published code any temperature but 0.7 silently means one sample."""
    rows, engine = explore({1: ["no answer"] * k}, tiny_model_dir, rationale(), k=k, temperature=temperature)
    assert (engine.requests[0][0].temperature, engine.requests[0][0].n, len(rows)) == (temperature, k, k)


@pytest.mark.parametrize("gold", ["1,080", "1080"])
@pytest.mark.parametrize("answer", ["1080", "1,080", "$1,080", "1080.0"])
def test_a_gold_answer_with_a_comma_is_no_false_pit(gold: str, answer: str, tiny_model_dir: Path) -> None:
    """In the published code 79 of GSM8K's golds give a false pit at step 1."""
    rows, _ = explore({1: [f"The answer is {answer}"], 2: [""]}, tiny_model_dir, rationale(gold), k=1)
    assert [(row["step_index"], row["is_correct"]) for row in rows] == [(1, True), (2, False)]


def test_rationales_of_a_chunk_advance_together_and_alone(tiny_model_dir: Path) -> None:
    """A draw depends on its own rationale and step, not on what else is in the chunk."""
    script = {1: ["The answer is 23"], 2: ["The answer is 23"], 3: ["The answer is 23"]}
    short = rationale(name="short", steps=STEPS[:1])
    none = rationale(name="none", steps=())
    rows, engine = explore(script, tiny_model_dir, rationale(), short, none, k=1)
    alone, alone_engine = explore(script, tiny_model_dir, rationale(), k=1)
    assert [len(requests) for requests in engine.requests] == [2, 1, 1]
    assert [row for row in rows if row["rationale_id"] == "w"] == alone
    assert [requests[0] for requests in engine.requests] == [requests[0] for requests in alone_engine.requests]
    seeds = {request.seed for requests in engine.requests for request in requests}
    assert len(seeds) == 4
