"""Evaluate (method, step 10): greedy answers of the round's models, every completion kept.

A round evaluates its models on dev and test, and on the dev problems of the benchmarks that may guard a promotion. The
test problems of those benchmarks are left to stage `benchmarks`, which a champion alone goes through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selfexplore_tasks.drawing import Ask, Drawn, Job, run_jobs
from selfexplore_tasks.grading import Grader
from selfexplore_tasks.problems.model import Problem
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.stages.chunks import Rows, draw_chunks, finish_chunks
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.generation import completion_columns, grade_columns, open_grader
from selfexplore_tasks.store.manifests import Manifest

if TYPE_CHECKING:
    from selfexplore_tasks.engines.protocol import Engine


def run(context: StageContext) -> Manifest | None:
    """Write `evaluations` for every model the round made (round 0: the first generator)."""
    others = {benchmark.name for benchmark in context.recipe.problems.benchmarks}
    problems = [p for p in context.problems("dev", "test") if p.split == "dev" or p.source not in others]
    models = evaluated_models(context)
    paths, versions = evaluate_models(context, models, problems)
    return finish_chunks(context, "evaluations", paths, {"models": models, "benchmark_versions": versions})


def evaluate_models(
    context: StageContext, models: Sequence[str], problems: Sequence[Problem]
) -> tuple[list[Path], dict[str, str]]:
    """Write parts of `evaluations`; return their paths and the version of every benchmark split."""
    groups: set[tuple[str, str]] = {(p.source, p.split) for p in problems}
    versions = {group: _version([p for p in problems if (p.source, p.split) == group]) for group in sorted(groups)}
    paths: list[Path] = []
    for model_id in models:
        paths += _evaluate_model(context, model_id, problems, versions, len(paths))
    return paths, {f"{source}/{split}": version for (source, split), version in versions.items()}


def evaluated_models(context: StageContext) -> list[str]:
    """Model ids the round made, in order of training; models of earlier rounds are evaluated already."""
    stages = ("sft",) if context.round_number == 0 else ("rft", "dpo")
    made = [str(context.manifest(stage).notes["model_id"]) for stage in stages]
    if context.round_number:
        made += context.manifest("arms").notes["models"]
    return [model for model in dict.fromkeys(made) if model.startswith(f"{context.round_number}/")]


def _evaluate_model(
    context: StageContext,
    model_id: str,
    problems: Sequence[Problem],
    versions: Mapping[tuple[str, str], str],
    first_chunk: int,
) -> list[Path]:
    prompts = context.prompts(model_id)

    def job(problem: Problem) -> Job[Rows]:
        done, grade = yield from _answer_greedily(context, problem, prompts)
        return [
            {
                "model_id": model_id,
                "benchmark": problem.source,
                "benchmark_version": versions[problem.source, problem.split],
                "split": problem.split,
                "problem_id": problem.problem_id,
                "is_correct_strict": grade.is_correct_strict,
                **completion_columns(done),
                **grade_columns(grade),
            }
        ]

    with context.engine(model_id) as engine, open_grader(context) as grader:
        return draw_chunks(
            context,
            "evaluations",
            problems,
            job,
            engine=engine,
            grader=grader,
            chunk_size=context.recipe.evaluate.chunk_size,
            unit="problems",
            label=f"evaluate {model_id}",
            first_chunk=first_chunk,
        )


def answer_greedily(
    context: StageContext,
    problems: Sequence[Problem],
    prompts: PromptFormat,
    engine: Engine,
    grader: Grader,
    progress: Progress,
) -> list[Drawn]:
    """One greedy answer per problem with its grade, in order."""
    jobs = [_answer_greedily(context, problem, prompts) for problem in problems]
    return run_jobs(engine, grader, jobs, progress.advance)


def _answer_greedily(context: StageContext, problem: Problem, prompts: PromptFormat) -> Job[Drawn]:
    from selfexplore_tasks.engines.protocol import GenerationRequest

    request = GenerationRequest(
        prompt_token_ids=prompts.prompt_ids(problem.question),
        n=1,
        temperature=0.0,
        top_p=1.0,
        max_new_tokens=context.recipe.evaluate.max_new_tokens,
        stop=context.recipe.prompt.stop,
        seed=derive_seed(context.recipe.seed, "evaluate", problem.problem_id),
    )
    (drawn,) = yield Ask(request, problem.gold_answer)
    return drawn


def _version(problems: Sequence[Problem]) -> str:
    """A hash that changes when a benchmark's problems or golds change."""
    lines = sorted(f"{problem.problem_id}\t{problem.gold_answer}" for problem in problems)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
