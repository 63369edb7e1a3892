"""Explore (method, step 7): from every step of a wrong rationale, let the explorer try to finish it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selfexplore_tasks.drawing import Job
from selfexplore_tasks.exploration import Exploration, Explorer, WrongRationale, cut_to_context
from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.stages.chunks import Rows, draw_chunks, finish_chunks, shard_label
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.generation import cache_notes, completion_columns, grade_columns, open_grader
from selfexplore_tasks.steps import explorable_steps
from selfexplore_tasks.store.manifests import Manifest
from selfexplore_tasks.store.parts import have_parts

FIT_QUANTILE, FIT_MARGIN = 0.99, 1.25
"""With `explore.fit_tokens`: so many of the correct rationales fit whole, with so much room."""
DRAW_KEY = ("problem_id", "prefix", "rollout_index")
"""Rollouts of one chunk that agree in these are one draw, shared by rationales with the same first steps."""


def run(context: StageContext) -> Manifest | None:
    """Write `rollouts`: tries after the steps of each kept outcome pair's wrong rationale, until its pit is found."""
    recipe = context.recipe
    model_id = context.explorer_id
    prompts = context.prompts(model_id)
    wrong = cut_to_context(wrong_rationales(context), prompts, context.context_length(model_id))
    limit = rollout_limit(context)
    settings = recipe.explore.model_copy(update={"max_new_tokens": limit})
    with context.engine(model_id) as engine, open_grader(context) as grader:
        explorer = Explorer(engine, prompts, grader, settings, recipe.prompt.stop, rollout_seed(context))

        def job(rationale: WrongRationale) -> Job[Rows]:
            return rollout_rows((yield from explorer.job(rationale)), model_id)

        paths = draw_chunks(
            context,
            "rollouts",
            wrong,
            job,
            engine=engine,
            grader=grader,
            chunk_size=recipe.explore.chunk_size,
            unit="rationales",
            label=shard_label(context),
        )
        notes = {"model_id": model_id, "engine": engine.name, "rationales": len(wrong), **cache_notes(engine)}
        return finish_chunks(context, "rollouts", paths, notes | _cost_notes(paths, limit), draw_key=DRAW_KEY)


def rollout_seed(context: StageContext) -> int:
    """What all rollouts of the round derive from: the same prefix is explored afresh by the next explorer."""
    return derive_seed(context.recipe.seed, context.round_number, context.explorer_id)


def rollout_limit(context: StageContext) -> int:
    """Tokens that a rollout may have: `explore.max_new_tokens`, or what correct rationales need where that is less."""
    settings = context.recipe.explore
    return fitted_limit(context) if settings.fit_tokens else settings.max_new_tokens


def fitted_limit(context: StageContext) -> int:
    """The bound of `explore.fit_tokens`."""
    most = context.recipe.explore.max_new_tokens
    (row,) = context.query(
        "select quantile_disc(token_count, $quantile) as needed from rationales "
        "where experiment = $experiment and round = $round and model_id = $model and is_correct_strict",
        quantile=FIT_QUANTILE,
        model=context.pair_source_id,
    )
    # Imported rationales have no count.
    return most if row["needed"] is None else min(most, math.ceil(FIT_MARGIN * row["needed"]))


def _cost_notes(paths: Sequence[Path], limit: int) -> dict[str, Any]:
    """For the manifest, and printed: how many rollouts were cut off at ``limit`` tokens, and how many draws shared."""
    if not have_parts(paths):
        return {}
    rows = draws = cut_off = 0
    for path in paths:
        part = pq.read_table(path, columns=[*DRAW_KEY, "finish_reason"])
        rows += part.num_rows
        draws += part.group_by(list(DRAW_KEY)).aggregate([]).num_rows
        cut_off += part["finish_reason"].to_pylist().count("length")
    share = cut_off / rows if rows else 0.0
    print(f"explore: {draws:,} draws for {rows:,} rollouts, {share:.1%} cut off at {limit} tokens", flush=True)
    return {"max_new_tokens": limit, "cut_off_share": round(share, 4), "draws": draws}


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
