"""Exploring labelled solutions with a model of an experiment, and scoring the pits against the labels.

Work is kept in parts below ``pits/`` of the store, chunk by chunk: the same command after a kill goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selfexplore_tasks.exploration import Explorer, WrongRationale, cut_to_context
from selfexplore_tasks.grading import Grader, GradeRequest, extract_answer
from selfexplore_tasks.pits.labels import STEP_SEPARATOR, LabelledSolution
from selfexplore_tasks.pits.scoring import PitScore, score_pits
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.recipe_files import recipe_hash
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.explore import rollout_rows
from selfexplore_tasks.stages.generation import open_grader
from selfexplore_tasks.store.parts import is_done, part_name, to_table, write_part

CHUNK_SIZE = 20


@dataclass(frozen=True)
class LabelledRun:
    """What scoring gave: ``found`` and ``labels`` are 0-based steps (-1 = none), in order of the solutions."""

    score: PitScore
    found: list[int]
    labels: list[int]
    rollout_count: int
    token_count: int
    parts: list[Path]


def explore_labelled(context: StageContext, model_id: str, solutions: Sequence[LabelledSolution]) -> LabelledRun:
    """Find the first pit of every solution with the recipe's `explore` settings, and score them.

    A step that states the final answer is not explored: nothing can be recovered behind it. It is right if that
    answer equals the gold one.
    """
    fingerprint = _fingerprint(context, model_id, solutions)
    folder = context.store.pits_dir(context.slug, fingerprint)
    chunks = [solutions[start : start + CHUNK_SIZE] for start in range(0, len(solutions), CHUNK_SIZE)]
    paths = [folder / part_name("pits", number) for number in range(len(chunks))]
    done = sum(len(chunk) for chunk, path in zip(chunks, paths, strict=True) if is_done(path, recipe_hash=fingerprint))
    with Progress("pits score", len(solutions), "solutions", done) as progress, open_grader(context) as grader:
        if done < len(solutions):
            with context.engine(model_id) as engine:
                recipe = context.recipe
                prompts = context.prompts(model_id)
                explorer = Explorer(engine, prompts, grader, recipe.explore, recipe.prompt.stop, recipe.seed)
                for chunk, path in zip(chunks, paths, strict=True):
                    if not is_done(path, recipe_hash=fingerprint):
                        _explore_chunk(context, explorer, model_id, chunk, path, fingerprint, progress)
        rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
        found = find_pits(solutions, rows, grader, context.recipe.prompt.answer_phrase)
    labels = [solution.label for solution in solutions]
    tokens = sum(row["token_count"] for row in rows)
    return LabelledRun(score_pits(found, labels), found, labels, len(rows), tokens, paths)


def find_pits(
    solutions: Sequence[LabelledSolution], rollouts: Iterable[dict[str, Any]], grader: Grader, answer_phrase: str
) -> list[int]:
    """Return the 0-based first pit of each solution, -1 for none, from the rows of its rollouts."""
    passes: dict[str, dict[int, bool]] = defaultdict(lambda: defaultdict(bool))
    for row in rollouts:
        passes[row["rationale_id"]][row["step_index"]] |= row["is_correct"]
    texts = [STEP_SEPARATOR.join(solution.steps) for solution in solutions]
    answers = grader.grade(
        [GradeRequest(text, solution.gold_answer, "stop") for text, solution in zip(texts, solutions, strict=True)]
    )
    found = []
    for solution, answer in zip(solutions, answers, strict=True):
        steps = passes[solution.solution_id]
        # A step without a correct rollout before one that passed was left undecided (search noisy_binary).
        passed = max((step for step, is_passed in steps.items() if is_passed), default=0)
        failed = [step - 1 for step in steps if step > passed]
        explored = len(explored_steps(solution, answer_phrase))
        ends_wrong = explored < len(solution.steps) and not answer.is_correct_strict
        found.append(min(failed, default=explored if ends_wrong else -1))
    return found


def explored_steps(solution: LabelledSolution, answer_phrase: str) -> tuple[str, ...]:
    """The steps before the first one that states an answer, each with the separator behind it."""
    steps = []
    for step in solution.steps:
        if extract_answer(step, answer_phrase) is not None:
            break
        steps.append(step + STEP_SEPARATOR)
    return tuple(steps)


def _explore_chunk(
    context: StageContext,
    explorer: Explorer,
    model_id: str,
    chunk: Sequence[LabelledSolution],
    path: Path,
    fingerprint: str,
    progress: Progress,
) -> None:
    phrase, begun = context.recipe.prompt.answer_phrase, time.monotonic()
    rationales = [
        WrongRationale(one.solution_id, one.solution_id, one.question, one.gold_answer, explored_steps(one, phrase))
        for one in chunk
    ]
    fitting = cut_to_context(rationales, explorer.prompts, context.context_length(model_id))
    rows = [row for found in explorer.explore(fitting, progress.advance) for row in rollout_rows(found, model_id)]
    write_part(path, to_table("rollouts", rows), recipe_hash=fingerprint, seconds=time.monotonic() - begun)


def _fingerprint(context: StageContext, model_id: str, solutions: Sequence[LabelledSolution]) -> str:
    """Hash everything that decides the rollouts; the recipe may differ from the experiment's own."""
    parts = (
        context.experiment.created_at,
        recipe_hash(context.recipe),
        model_id,
        [(one.solution_id, one.question, one.gold_answer, one.steps) for one in solutions],
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
