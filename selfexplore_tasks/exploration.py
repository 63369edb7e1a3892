"""Finding first pits (method, step 7): from the steps of a rationale, let a model try to finish it.

Which steps are tried, and how often, is one pure search per rationale (``search_pit``). ``Explorer`` runs many of them
side by side, so that what they ask for at the same moment fills the engine's batch. Rollout i of a step is the same
draw whatever the settings: an option that draws less leaves rollouts out and changes none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from selfexplore_tasks.grading import Grade, Grader, GradeRequest
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
class Draws:
    """Rollouts ``first_index``, ``first_index + 1``, ... (0-based, ``count`` of them) after steps 1..``step``."""

    step: int
    first_index: int
    count: int


@dataclass(frozen=True)
class Rollout:
    """One graded completion after steps 1..``step`` (1-based); ``index`` is its 0-based draw at this step."""

    step: int
    index: int
    completion: Completion
    grade: Grade


@dataclass
class Exploration:
    """What exploring one rationale found: every rollout in order of drawing, and the first pit (None = none)."""

    rationale: WrongRationale
    rollouts: list[Rollout] = field(default_factory=list)
    first_pit_step: int | None = None


PitSearch = Generator[Draws, int, int | None]
"""Yields what to draw, is sent how many of these rollouts are correct, and returns the first pit (None = none)."""


def search_pit(step_count: int, settings: Explore) -> PitSearch:
    """Search steps 1..``step_count`` for the first one that no rollout recovers from.

    ``linear`` goes from step 1 on and ends at the first that fails. ``binary`` halves, taking for granted that a
    failed step stays failed: about log2(step_count + 1) steps are tried. Either way the step before the pit was tried
    and passed, or the pit is step 1.
    """
    drawn: Counter[int] = Counter()
    passed, failed = 0, step_count + 1
    while failed - passed > 1:
        step = passed + 1 if settings.search == "linear" else (passed + failed) // 2
        if (yield from _recovers(step, settings, drawn)):
            passed = step
        else:
            failed = step
    if failed > step_count:
        return None
    if failed > 1:
        # Chosen is one of these rollouts: here adaptive must not have saved any.
        yield from _draw_up_to(settings.k, failed - 1, drawn)
    return failed


def _recovers(step: int, settings: Explore, drawn: Counter[int]) -> Generator[Draws, int, bool]:
    """Whether a rollout after ``step`` is correct; drawing ends with the first batch that holds one."""
    for total in ([1] if settings.adaptive else []) + [settings.k] + ([2 * settings.k] if settings.confirm else []):
        if (yield from _draw_up_to(total, step, drawn)) > 0:
            return True
    return False


def _draw_up_to(total: int, step: int, drawn: Counter[int]) -> Generator[Draws, int, int]:
    """Draw what ``step`` lacks to ``total`` rollouts; return how many of the new ones are correct."""
    first, drawn[step] = drawn[step], max(drawn[step], total)
    return (yield Draws(step, first, total - first)) if total > first else 0


@dataclass(frozen=True)
class Explorer:
    """A loaded model that explores rationales. ``seed`` is the recipe's, ``stop`` its stop strings."""

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
        results = [Exploration(rationale) for rationale in rationales]
        searches = [search_pit(len(rationale.steps), self.settings) for rationale in rationales]
        # What each unfinished search is sent next; None starts it.
        replies: dict[int, int | None] = dict.fromkeys(range(len(rationales)))
        while replies:
            wanted: dict[int, Draws] = {}
            for position, reply in replies.items():
                try:
                    # A generator takes None only before it has started.
                    wanted[position] = searches[position].send(reply)  # type: ignore[arg-type]
                except StopIteration as end:
                    results[position].first_pit_step = end.value
            on_done(len(replies) - len(wanted))
            drawn = self._draw([(rationales[position], draws) for position, draws in wanted.items()])
            replies = {}
            for position, rollouts in zip(wanted, drawn, strict=True):
                results[position].rollouts += rollouts
                replies[position] = sum(rollout.grade.is_correct_strict for rollout in rollouts)
        return results

    def _draw(self, wanted: Sequence[tuple[WrongRationale, Draws]]) -> list[list[Rollout]]:
        """Draw and grade; one list of rollouts per order."""
        if not wanted:
            return []
        completions = self.engine.generate([self._request(rationale, draws) for rationale, draws in wanted])
        grades = iter(
            self.grader.grade(
                [
                    GradeRequest(done.text, rationale.gold_answer, done.finish_reason)
                    for (rationale, _), drawn in zip(wanted, completions, strict=True)
                    for done in drawn
                ]
            )
        )
        return [
            [
                Rollout(draws.step, index, done, next(grades))
                for index, done in enumerate(drawn, start=draws.first_index)
            ]
            for (_, draws), drawn in zip(wanted, completions, strict=True)
        ]

    def _request(self, rationale: WrongRationale, draws: Draws) -> GenerationRequest:
        from selfexplore_tasks.engines.protocol import GenerationRequest

        return GenerationRequest(
            prompt_token_ids=self.prompts.prompt_ids(rationale.question, rationale.prefix(draws.step)),
            n=draws.count,
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            max_new_tokens=self.settings.max_new_tokens,
            stop=self.stop,
            seed=derive_seed(self.seed, "explore", rationale.rationale_id, draws.step),
            first_index=draws.first_index,
        )
