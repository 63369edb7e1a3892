"""Prepare (round 0): load and split the problems, count what is not used, and make the base model."""

from __future__ import annotations

from dataclasses import asdict

from selfexplore_tasks.problems.model import Problem
from selfexplore_tasks.problems.splits import load_problems
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.manifests import Manifest
from selfexplore_tasks.training.base_model import make_base_model


def run(context: StageContext) -> Manifest:
    """Write `problems` and `rejected_rows`; make the base model unless the recipe names a finished one."""
    recipe = context.recipe
    problems, rejected = load_problems(recipe.problems, seed=recipe.seed, answer_phrase=recipe.prompt.answer_phrase)
    base_model = make_base_model(
        recipe.model,
        context.store.model_dir(context.slug, "0/base"),
        texts=_training_texts(problems, recipe.prompt.template),
        seed=recipe.seed,
    )
    PromptFormat(recipe.prompt, base_model).check()
    parts = {
        "problems": [context.write_rows("problems", [asdict(problem) for problem in problems])],
        "rejected_rows": [context.write_rows("rejected_rows", [asdict(row) for row in rejected])],
    }
    counts = {split: sum(problem.split == split for problem in problems) for split in ("train", "dev", "test")}
    with_rationale = sum(problem.gold_rationale is not None for problem in problems if problem.split == "train")
    print(
        f"prepare: {counts['train']:,} training problems ({with_rationale:,} with rationale), {counts['dev']:,} dev, "
        f"{counts['test']:,} test; {len(rejected):,} rows not used (see table rejected_rows)",
        flush=True,
    )
    return context.commit(
        parts,
        row_counts={"problems": len(problems), "rejected_rows": len(rejected), **counts},
        notes={"base_model": str(base_model), "train_with_rationale": with_rationale},
    )


def _training_texts(problems: list[Problem], template: str) -> list[str]:
    """What a tokenizer may be trained on: the training problems that have a gold rationale, as SFT will see them."""
    return [
        template.replace("{question}", problem.question) + problem.gold_rationale
        for problem in problems
        if problem.gold_rationale is not None
    ]
