"""Explore (method, step 7): from every step of a wrong rationale, let the explorer try to finish it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selfexplore_tasks.exploration import Exploration, Explorer, WrongRationale, cut_to_context
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.stages.chunks import Rows, finish_chunks, shard_label, work_chunks
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.generation import completion_columns, grade_columns, open_grader
from selfexplore_tasks.steps import explorable_steps
from selfexplore_tasks.store.manifests import Manifest


def run(context: StageContext) -> Manifest | None:
    """Write `rollouts`: tries after the steps of each kept outcome pair's wrong rationale, until its pit is found."""
    recipe = context.recipe
    model_id = context.explorer_id
    prompts = context.prompts(model_id)
    wrong = cut_to_context(wrong_rationales(context), prompts, context.context_length(model_id))
    with context.engine(model_id) as engine, open_grader(context) as grader:
        explorer = Explorer(engine, prompts, grader, recipe.explore, recipe.prompt.stop, recipe.seed)

        def work(chunk: Sequence[WrongRationale], progress: Progress) -> Rows:
            return [row for found in explorer.explore(chunk, progress.advance) for row in rollout_rows(found, model_id)]

        paths = work_chunks(
            context,
            "rollouts",
            wrong,
            chunk_size=recipe.explore.chunk_size,
            unit="rationales",
            work=work,
            label=shard_label(context),
        )
        notes = {"model_id": model_id, "engine": engine.name, "rationales": len(wrong)}
        return finish_chunks(context, "rollouts", paths, notes)


def wrong_rationales(context: StageContext) -> list[WrongRationale]:
    """The rationales that this round explores, in order of their ids."""
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


def rollout_rows(exploration: Exploration, model_id: str) -> list[dict[str, Any]]:
    """The exploration's rows of table `rollouts`; ``model_id`` drew them."""
    rationale = exploration.rationale
    return [
        {
            "rollout_id": f"{rationale.rationale_id}/s{rollout.step:02d}/{rollout.index:02d}",
            "rationale_id": rationale.rationale_id,
            "problem_id": rationale.problem_id,
            "model_id": model_id,
            "step_index": rollout.step,
            "step_count": len(rationale.steps),
            "rollout_index": rollout.index,
            "prefix": rationale.prefix(rollout.step),
            "is_correct": rollout.grade.is_correct_strict,
            **completion_columns(rollout.completion),
            **grade_columns(rollout.grade),
        }
        for rollout in exploration.rollouts
    ]
