"""Evaluate (method, step 10): greedy answers of the round's models, every completion kept.

A round evaluates its models on dev and test, and on the dev problems of the benchmarks that may guard a promotion. The
test problems of those benchmarks are left to stage `benchmarks`, which a champion alone goes through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selfexplore_tasks.grading import Grade, Grader, GradeRequest
from selfexplore_tasks.problems.model import Problem
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.stages.chunks import Rows, finish_chunks, work_chunks
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.generation import completion_columns, grade_columns, open_grader
from selfexplore_tasks.store.manifests import Manifest

if TYPE_CHECKING:
    from selfexplore_tasks.engines.protocol import Completion, Engine


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
    with context.engine(model_id) as engine, open_grader(context) as grader:

        def work(chunk: Sequence[Problem], progress: Progress) -> Rows:
            graded = answer_greedily(context, chunk, prompts, engine, grader, progress)
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
                for problem, (done, grade) in zip(chunk, graded, strict=True)
            ]

        return work_chunks(
            context,
            "evaluations",
            problems,
            chunk_size=context.recipe.evaluate.chunk_size,
            unit="problems",
            work=work,
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
) -> list[tuple[Completion, Grade]]:
    """One greedy answer per problem with its grade, in order."""
    from selfexplore_tasks.engines.protocol import GenerationRequest

    requests = [
        GenerationRequest(
            prompt_token_ids=prompts.prompt_ids(problem.question),
            n=1,
            temperature=0.0,
            top_p=1.0,
            max_new_tokens=context.recipe.evaluate.max_new_tokens,
            stop=context.recipe.prompt.stop,
            seed=derive_seed(context.recipe.seed, "evaluate", problem.problem_id),
        )
        for problem in problems
    ]
    completions = [completions[0] for completions in engine.generate(requests, progress.advance)]
    grades = grader.grade(
        [
            GradeRequest(done.text, p.gold_answer, done.finish_reason)
            for p, done in zip(problems, completions, strict=True)
        ]
    )
    return list(zip(completions, grades, strict=True))


def _version(problems: Sequence[Problem]) -> str:
    """A hash that changes when a benchmark's problems or golds change."""
    lines = sorted(f"{problem.problem_id}\t{problem.gold_answer}" for problem in problems)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
