"""What sampling, exploring and evaluating share: the grader of a stage, and the columns of a graded text."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from selfexplore_tasks.grading import Grade, Grader
from selfexplore_tasks.stages.context import StageContext

if TYPE_CHECKING:
    from selfexplore_tasks.engines.protocol import Completion, Engine


def open_grader(context: StageContext) -> Grader:
    """The grader as the recipe sets it; use it as a context manager."""
    settings = context.recipe.grading
    return Grader(
        answer_phrase=context.recipe.prompt.answer_phrase,
        timeout_s=settings.timeout_s,
        workers=settings.workers,
        second=settings.second,
    )


def cache_notes(engine: Engine) -> dict[str, object]:
    """For the manifest, and printed: what the engine's prefix cache saved this worker; nothing where it has none."""
    use = engine.prefix_cache
    if use is None or not use.prompt_tokens:
        return {}
    print(f"prefix cache: {use.hit_rate:.1%} of {use.prompt_tokens:,} prompt tokens were there already", flush=True)
    return {"prefix_cache": {**asdict(use), "hit_rate": round(use.hit_rate, 4)}}


def completion_columns(completion: Completion) -> dict[str, object]:
    """The columns every generated text has."""
    return {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "token_count": len(completion.token_ids),
    }


def grade_columns(grade: Grade) -> dict[str, object]:
    """The columns every graded text has, besides its strict verdict."""
    return {
        "answer": grade.answer,
        "is_correct_flexible": grade.is_correct_flexible,
        "grade_reason": grade.reason,
        "is_correct_second": grade.is_correct_second,
    }
