"""Finding first pits (method, step 7): from the steps of a rationale, let a model try to finish it.

Which steps are tried, and how often, is one pure search per rationale (``pit_search``). ``Explorer`` makes a job of it
(see ``drawing``), so that many run side by side as one stream.

Rollout i after a prefix is the same draw whatever the settings: its seed derives from the problem and the text of the
prefix, so an option that draws less leaves rollouts out and changes none. Wrong rationales of a problem that share
their first steps ask for the same draws, which are made once where they are explored together (the same chunk); each
rationale keeps rows of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from selfexplore_tasks.drawing import Ask, Job, run_jobs
from selfexplore_tasks.grading import Grade, Grader
from selfexplore_tasks.pit_search import Draws, search_pit
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.recipe import Explore
from selfexplore_tasks.seeds import derive_seed

if TYPE_CHECKING:
    from selfexplore_tasks.engines.protocol import Completion, Engine, GenerationRequest


@dataclass(frozen=True)
class WrongRationale:
    """A wrong rationale to explore; ``steps`` are those that may be the pit (no final answer line)."""

    rationale_id: str
    problem_id: str
    question: str
    gold_answer: str
    steps: tuple[str, ...]

    def prefix(self, step: int) -> str:
        """Steps 1..step, exactly as in the rationale."""
        return "".join(self.steps[:step])


MIN_ROOM = 16
"""Tokens that must be left for a rollout; with fewer, every one would be cut off and the step look like a pit."""


def cut_to_context(
    rationales: Sequence[WrongRationale], prompts: PromptFormat, context_length: int | None
) -> list[WrongRationale]:
    """Leave out the last steps after which the model's context (tokens; None = no limit) has no room for a rollout."""
    if context_length is None:
        return list(rationales)
    longest = context_length - MIN_ROOM
    fitting = []
    for rationale in rationales:
        count = len(rationale.steps)
        while count and len(prompts.prompt_ids(rationale.question, rationale.prefix(count))) > longest:
            count -= 1
        fitting.append(replace(rationale, steps=rationale.steps[:count]))
    shortened = sum(old != new for old, new in zip(rationales, fitting, strict=True))
    if shortened:
        print(f"explore: {shortened:,} rationales do not fit the model's context whole: their ends are not explored")
    return fitting


@dataclass(frozen=True)
class Rollout:
    """One graded completion after steps 1..``step`` (1-based); ``index`` is its 0-based draw at this step."""

    step: int
    index: int
    completion: Completion
    grade: Grade


@dataclass(frozen=True)
class Exploration:
    """What exploring one rationale found: every rollout in order of drawing, and the first pit (None = none)."""

    rationale: WrongRationale
    rollouts: list[Rollout]
    first_pit_step: int | None = None


@dataclass(frozen=True)
class Explorer:
    """A loaded model that explores rationales. ``stop`` are the recipe's stop strings; draws derive from ``seed``."""

    engine: Engine
    prompts: PromptFormat
    grader: Grader
    settings: Explore
    stop: tuple[str, ...]
    seed: int

    def explore(self, rationales: Sequence[WrongRationale], on_done: Callable[[int], None]) -> list[Exploration]:
        """Explore all of ``rationales`` together; one result each, in order.

        ``on_done`` is called with the number of rationales finished since the last call. A rationale's rollouts do
        not depend on the others (transformers engine; up to rounding of the logits).
        Raises PromptTooLong where question and steps leave no room for a new token.
        """
        return run_jobs(self.engine, self.grader, [self.job(rationale) for rationale in rationales], on_done)

    def job(self, rationale: WrongRationale) -> Job[Exploration]:
        """The search through one rationale."""
        search = search_pit(len(rationale.steps), self.settings)
        rollouts: list[Rollout] = []
        passes: int | None = None
        while True:
            try:
                # A generator takes None only before it has started.
                draws = search.send(passes)  # type: ignore[arg-type]
            except StopIteration as end:
                return Exploration(rationale, rollouts, end.value)
            drawn = yield Ask(self.request(rationale, draws), rationale.gold_answer)
            numbered = enumerate(drawn, start=draws.first_index)
            rollouts += [Rollout(draws.step, index, completion, grade) for index, (completion, grade) in numbered]
            passes = sum(grade.is_correct_strict for _, grade in drawn)

    def request(self, rationale: WrongRationale, draws: Draws) -> GenerationRequest:
        """What the engine is asked for; equal for all rationales of a problem with these first steps."""
        from selfexplore_tasks.engines.protocol import GenerationRequest

        prefix = rationale.prefix(draws.step)
        return GenerationRequest(
            prompt_token_ids=self.prompts.prompt_ids(rationale.question, prefix),
            n=draws.count,
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            max_new_tokens=self.settings.max_new_tokens,
            stop=self.stop,
            seed=derive_seed(self.seed, "explore", rationale.problem_id, prefix),
            first_index=draws.first_index,
        )
