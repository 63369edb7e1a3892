"""Importing rationales: a file made elsewhere becomes what stage ``sample`` of a round would have drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfexplore_tasks.grading import AnswerPair, Grade, Grader, GradeRequest
from selfexplore_tasks.problems.model import Problem
from selfexplore_tasks.problems.splits import load_problems
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.recipe_files import load_recipe, recipe_hash
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.generation import grade_columns, open_grader
from selfexplore_tasks.stages.registry import check_order, run_stage
from selfexplore_tasks.store.experiments import Experiment, open_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, read_manifest
from selfexplore_tasks.table_files import Table, cell_text
from selfexplore_tasks.transfer.imports import (
    ImportedFile,
    Row,
    already_imported,
    by_question,
    check_not_empty,
    commit_import,
    graded_batches,
    target_round,
    training_problem,
)
from selfexplore_tasks.transfer.texts import LeftOut, Text, TextColumns, read_columns, texts_of_row


@dataclass(frozen=True, kw_only=True)
class RationaleColumns(TextColumns):
    """Also the column with the gold answer, which must agree with ours."""

    gold: str = "gold"


@dataclass(frozen=True)
class _Sampled:
    """One text with its problem and its 0-based place among the texts of that problem."""

    problem: Problem
    sample_index: int
    text: Text

    def grade_request(self) -> GradeRequest:
        return GradeRequest(self.text.content, self.problem.gold_answer, self.text.finish_reason)

    def row(self, context: StageContext, grade: Grade) -> Row:
        """The row of table `rationales`. What only the model behind the text knew is null."""
        problem_id = self.problem.problem_id
        return {
            "rationale_id": f"{context.imported_id}/{problem_id}/{self.sample_index:03d}@{context.round_number}",
            "problem_id": problem_id,
            "model_id": context.imported_id,
            "sample_index": self.sample_index,
            "text": self.text.content,
            "verdict": grade.verdict,
            "is_correct_strict": grade.is_correct_strict,
            "finish_reason": self.text.finish_reason,
            "token_count": None,
            "logprob_mean": None,
            "seed": None,
            **grade_columns(grade),
        }


def import_rationales(
    store: Store,
    slug: str,
    name: str,
    columns: RationaleColumns,
    *,
    round_number: int | None = None,
    recipe_name: str | None = None,
    overrides: dict[str, object] | None = None,
) -> Manifest:
    """Grade the texts of a jsonl or parquet file and commit them as the round's stage ``sample``.

    A new experiment is made from ``recipe_name`` and prepared. Rows whose question is not one of the experiment's
    training problems, or whose gold answer differs from ours, are left out and counted; so are empty texts.

    Raises:
        UserError: the file cannot be used or nothing in it is left, or the round cannot take it. Nothing is written.
    """
    file = ImportedFile.open(name, columns)
    experiment = _experiment(store, slug, recipe_name, overrides)
    context = StageContext(store, experiment, target_round(store, slug, "sample", file, round_number), "sample")
    done = already_imported(store, slug, context.round_number, "sample", file)
    if done is not None:
        return done
    if context.round_number > 1:
        check_order(store, slug, "sample", context.round_number)
    left_out = LeftOut()
    table = read_columns(name, columns)
    with open_grader(context) as grader:
        sampled = _match(table, columns, _problems(context), grader, left_out)
        check_not_empty(sampled, file, left_out)
        open_experiment(store, slug, recipe_name, overrides)
        run_stage(store, slug, "prepare", round_number=0)
        problem_count = len({one.problem.problem_id for one in sampled})
        with Progress("import", len(sampled), "texts") as progress:
            batches = (
                [one.row(context, grade) for one, grade in batch]
                for batch in graded_batches(sampled, _Sampled.grade_request, grader, progress)
            )
            return commit_import(context, "rationales", batches, file, left_out, {"problems": problem_count})


def _experiment(store: Store, slug: str, recipe_name: str | None, overrides: dict[str, object] | None) -> Experiment:
    """The experiment; a new one is not written yet, so that a file without use leaves nothing behind."""
    if recipe_name is None or store.experiment_file(slug).exists():
        return open_experiment(store, slug, recipe_name, overrides)
    recipe = load_recipe(recipe_name, overrides)
    return Experiment(slug, recipe, recipe_hash(recipe), created_at="")


def _problems(context: StageContext) -> Sequence[Problem]:
    """Every problem of the experiment, as prepared or as stage ``prepare`` will write them."""
    if read_manifest(context.store, context.slug, 0, "prepare") is not None:
        return context.problems("train", "dev", "test")
    recipe = context.recipe
    problems, _ = load_problems(recipe.problems, seed=recipe.seed, answer_phrase=recipe.prompt.answer_phrase)
    return problems


def _match(
    table: Table, columns: RationaleColumns, problems: Sequence[Problem], grader: Grader, left_out: LeftOut
) -> list[_Sampled]:
    """The texts of training problems whose gold answer agrees with ours, in order of problem and of the file."""
    known = by_question(problems)
    rows: list[tuple[int, dict[str, object], Problem, str]] = []
    for number, row in table.rows:
        where = f"row {number} of {table.origin}"
        question = cell_text(row.get(columns.question), columns.question, where)
        gold = cell_text(row.get(columns.gold), columns.gold, where)
        problem = training_problem(known, question, number, left_out)
        if problem is not None:
            rows.append((number, row, problem, gold))
    agreed = grader.compare([AnswerPair(problem.gold_answer, gold) for _, _, problem, gold in rows])
    texts: dict[str, tuple[Problem, list[Text]]] = {}
    for (number, row, problem, gold), equality in zip(rows, agreed, strict=True):
        if not equality.is_equal:
            left_out.add("other_gold", number, f"{gold} here, {problem.gold_answer} in the experiment")
            continue
        found = texts_of_row(row, columns, row_number=number, left_out=left_out, keep_empty=False)
        texts.setdefault(problem.problem_id, (problem, []))[1].extend(found)
    return [
        _Sampled(problem, index, text)
        for _, (problem, found) in sorted(texts.items())
        for index, text in enumerate(found)
    ]
