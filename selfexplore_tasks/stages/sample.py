"""Sample (method, steps 2 and 3): draw N rationales per training problem and grade each as it arrives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfexplore_tasks.drawing import Ask, Job
from selfexplore_tasks.problems.model import Problem
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.seeds import derive_seed
from selfexplore_tasks.stages.chunks import Rows, draw_chunks, finish_chunks, shard_label
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.generation import cache_notes, completion_columns, grade_columns, open_grader
from selfexplore_tasks.store.manifests import Manifest

if TYPE_CHECKING:
    from selfexplore_tasks.engines.protocol import GenerationRequest


def run(context: StageContext) -> Manifest | None:
    """Draw the generator's rationales."""
    return draw_rationales(context, context.generator_id, problems_of_round(context, context.recipe.sample.problems))


def run_explorer(context: StageContext) -> Manifest | None:
    """Draw the explorer's own rationales, where the recipe takes the wrong ones from it; else nothing."""
    if not context.draws_explorer_rationales:
        print("sample_explorer: pairs come from the sampled rationales, nothing to draw", flush=True)
        return context.commit({}, row_counts={"rationales": 0})
    problems = problems_of_round(context, context.recipe.pairs.problems)
    return draw_rationales(context, context.explorer_id, problems[: context.recipe.pairs.explorer_problem_count])


def problems_of_round(context: StageContext, scope: str) -> list[Problem]:
    """The training problems in ``scope`` that this round samples.

    With ``sample.problems_per_round`` the problems stand in a seeded order, and each round takes the next ones,
    beginning again after the last.
    """
    in_scope = [problem for problem in context.problems("train") if scope == "all" or problem.gold_rationale is None]
    count = context.recipe.sample.problems_per_round
    if count is None or count >= len(in_scope):
        return in_scope
    in_scope.sort(key=lambda problem: derive_seed(context.recipe.seed, "slice", problem.problem_id))
    first = (context.round_number - 1) * count
    return [in_scope[index % len(in_scope)] for index in range(first, first + count)]


def draw_rationales(context: StageContext, model_id: str, problems: Sequence[Problem]) -> Manifest | None:
    """Draw ``sample.n`` rationales from ``model_id`` for each problem."""
    recipe = context.recipe
    prompts = context.prompts(model_id)
    with context.engine(model_id) as engine, open_grader(context) as grader:
        paths = draw_chunks(
            context,
            "rationales",
            problems,
            lambda problem: _draw(context, model_id, problem, prompts),
            engine=engine,
            grader=grader,
            chunk_size=recipe.sample.chunk_size,
            unit="rationales",
            draws_per_item=recipe.sample.n,
            label=shard_label(context),
        )
        notes = {"model_id": model_id, "engine": engine.name, **cache_notes(engine)}
        return finish_chunks(context, "rationales", paths, notes)


def _draw(context: StageContext, model_id: str, problem: Problem, prompts: PromptFormat) -> Job[Rows]:
    """The rows of one problem's rationales."""
    request = request_of(context, model_id, problem, prompts)
    drawn = yield Ask(request, problem.gold_answer)
    return [
        {
            "rationale_id": f"{model_id}/{problem.problem_id}/{index:03d}@{context.round_number}",
            "problem_id": problem.problem_id,
            "model_id": model_id,
            "sample_index": index,
            "verdict": grade.verdict,
            "is_correct_strict": grade.is_correct_strict,
            "seed": derive_seed(request.seed, index),
            "logprob_mean": done.logprob_mean,
            **completion_columns(done),
            **grade_columns(grade),
        }
        for index, (done, grade) in enumerate(drawn)
    ]


def request_of(context: StageContext, model_id: str, problem: Problem, prompts: PromptFormat) -> GenerationRequest:
    from selfexplore_tasks.engines.protocol import GenerationRequest

    settings = context.recipe.sample
    return GenerationRequest(
        prompt_token_ids=prompts.prompt_ids(problem.question),
        n=settings.n,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens,
        stop=context.recipe.prompt.stop,
        seed=derive_seed(context.recipe.seed, "sample", context.round_number, model_id, problem.problem_id),
    )
