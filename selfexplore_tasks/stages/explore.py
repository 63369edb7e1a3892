"""Explore (method, step 7): from every step of a wrong rationale, let the explorer try to finish it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfexplore_tasks.grading import Grader, GradeRequest
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.stages.chunks import Rows, finish_chunks, shard_label, work_chunks
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.generation import completion_columns, grade_columns, open_grader
from selfexplore_tasks.steps import explorable_steps
from selfexplore_tasks.store.manifests import Manifest

if TYPE_CHECKING:
    from selfexplore_tasks.engines.protocol import Engine, GenerationRequest


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


def run(context: StageContext) -> Manifest | None:
    """Write `rollouts`: k tries after step 1, 2, ... of each kept outcome pair's wrong rationale, up to its pit."""
    recipe = context.recipe
    prompts = context.prompts(context.explorer_id)
    wrong = _wrong_rationales(context)
    with context.engine(context.explorer_id) as engine, open_grader(context) as grader:
        explorer = _Explorer(context, prompts, engine, grader)
        paths = work_chunks(
            context,
            "rollouts",
            wrong,
            chunk_size=recipe.explore.chunk_size,
            unit="rationales",
            work=explorer.explore,
            label=shard_label(context),
        )
        notes = {"model_id": context.explorer_id, "engine": engine.name, "rationales": len(wrong)}
        return finish_chunks(context, "rollouts", paths, notes)


def _wrong_rationales(context: StageContext) -> list[WrongRationale]:
    settings = context.recipe.steps
    phrase = context.recipe.prompt.answer_phrase
    rows = context.query(
        "select rationale_id, problem_id, question, gold_answer, text from int_exploration_inputs "
        "where experiment = $experiment and round = $round order by rationale_id"
    )
    found = []
    for row in rows:
        steps = explorable_steps(row.pop("text"), settings.style, answer_phrase=phrase, max_steps=settings.max_steps)
        found.append(WrongRationale(**row, steps=tuple(steps)))
    return found


@dataclass(frozen=True)
class _Explorer:
    context: StageContext
    prompts: PromptFormat
    engine: Engine
    grader: Grader

    def explore(self, chunk: Sequence[WrongRationale], progress: Progress) -> Rows:
        """Rollouts of one chunk; all its rationales advance step by step together, to fill the engine's batch."""
        rows: Rows = []
        step, live = 1, list(chunk)
        while live:
            within = [wrong for wrong in live if step <= len(wrong.steps)]
            drawn = self._draw(within, step) if within else []
            rows += drawn
            recovered = {row["rationale_id"] for row in drawn if row["is_correct"]}
            survivors = [wrong for wrong in within if wrong.rationale_id in recovered]
            progress.advance(len(live) - len(survivors))
            step, live = step + 1, survivors
        return rows

    def _draw(self, wrong: Sequence[WrongRationale], step: int) -> Rows:
        requests = [self._request(rationale, step) for rationale in wrong]
        drawn = [
            (rationale, index, completion)
            for rationale, completions in zip(wrong, self.engine.generate(requests), strict=True)
            for index, completion in enumerate(completions)
        ]
        grades = self.grader.grade(
            [GradeRequest(done.text, rationale.gold_answer, done.finish_reason) for rationale, _, done in drawn]
        )
        return [
            {
                "rollout_id": f"{rationale.rationale_id}/s{step:02d}/{index:02d}",
                "rationale_id": rationale.rationale_id,
                "problem_id": rationale.problem_id,
                "model_id": self.context.explorer_id,
                "step_index": step,
                "step_count": len(rationale.steps),
                "rollout_index": index,
                "prefix": rationale.prefix(step),
                "is_correct": grade.is_correct_strict,
                **completion_columns(done),
                **grade_columns(grade),
            }
            for (rationale, index, done), grade in zip(drawn, grades, strict=True)
        ]

    def _request(self, rationale: WrongRationale, step: int) -> GenerationRequest:
        from selfexplore_tasks.engines.protocol import GenerationRequest

        settings = self.context.recipe.explore
        return GenerationRequest(
            prompt_token_ids=self.prompts.prompt_ids(rationale.question, rationale.prefix(step)),
            n=settings.k,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            stop=self.context.recipe.prompt.stop,
            seed=derive_seed(self.context.recipe.seed, "explore", rationale.rationale_id, step),
        )
