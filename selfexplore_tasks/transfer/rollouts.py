"""Importing rollouts: completions drawn elsewhere become what stage ``explore`` of a round would have drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from selfexplore_tasks.engines.protocol import Completion
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.exploration import Exploration, Rollout, WrongRationale
from selfexplore_tasks.grading import Grade, GradeRequest
from selfexplore_tasks.progress import Progress
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.explore import rollout_rows, wrong_rationales
from selfexplore_tasks.stages.generation import open_grader
from selfexplore_tasks.stages.registry import check_order
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest
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
from selfexplore_tasks.transfer.texts import (
    PREFIX_COLUMN,
    SHOWN_CHARACTERS,
    LeftOut,
    Text,
    TextColumns,
    read_columns,
    texts_of_row,
)

MAX_STEP_DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class RolloutColumns(TextColumns):
    """Also the columns with the whole wrong rationale and with the number of its steps that were given."""

    rationale: str = "rationale"
    step: str = "step"


@dataclass(frozen=True)
class _Drawn:
    """One completion after steps 1..``step`` (1-based); ``index`` is its 0-based place at that step."""

    wrong: WrongRationale
    step: int
    index: int
    text: Text

    def grade_request(self) -> GradeRequest:
        return GradeRequest(self.text.content, self.wrong.gold_answer, self.text.finish_reason)

    def row(self, context: StageContext, grade: Grade) -> Row:
        """The row of table `rollouts` that exploring would have written. The number of tokens is not known."""
        completion = Completion(self.text.content, (), self.text.finish_reason, math.nan)
        exploration = Exploration(self.wrong, [Rollout(self.step, self.index, completion, grade)])
        (row,) = rollout_rows(exploration, context.imported_id)
        return {**row, "token_count": None}


def import_rollouts(
    store: Store, slug: str, name: str, columns: RolloutColumns, *, round_number: int | None = None
) -> Manifest:
    """Grade the texts of a jsonl or parquet file and commit them as the round's stage ``explore``.

    Rows of rationales that the round does not explore, or behind their last step, are left out and counted. How many
    completions a step has is free; the steps of a rationale must begin with 1 and leave none out.

    Raises:
        UserError: the file cannot be used or nothing in it is left, its steps are not ours or have a gap, or the
            round cannot take it. Nothing is written.
    """
    file = ImportedFile.open(name, columns)
    experiment = load_experiment(store, slug)
    context = StageContext(store, experiment, target_round(store, slug, "explore", file, round_number), "explore")
    done = already_imported(store, slug, context.round_number, "explore", file)
    if done is not None:
        return done
    check_order(store, slug, "explore", context.round_number)
    table = read_columns(name, columns)
    left_out = LeftOut()
    wrong = wrong_rationales(context)
    drawn = _match(context, table, columns, wrong, left_out)
    check_not_empty(drawn, file, left_out)
    _check_gaps(drawn)
    explored = {one.wrong.rationale_id for one in drawn}
    counts = {"rationales": len(explored), "without_rollouts": len(wrong) - len(explored)}
    with open_grader(context) as grader, Progress("import", len(drawn), "texts") as progress:
        batches = (
            [one.row(context, grade) for one, grade in batch]
            for batch in graded_batches(drawn, _Drawn.grade_request, grader, progress)
        )
        return commit_import(context, "rollouts", batches, file, left_out, counts)


def _match(
    context: StageContext, table: Table, columns: RolloutColumns, wrong: Sequence[WrongRationale], left_out: LeftOut
) -> list[_Drawn]:
    """The texts of rationales that are to be explored, in order of rationale, step and the file."""
    problems = by_question(context.problems("train", "dev", "test"))
    explored = _by_text(context, wrong)
    found: dict[tuple[str, int], tuple[WrongRationale, list[Text]]] = {}
    for number, row in table.rows:
        where = f"row {number} of {table.origin}"
        question = cell_text(row.get(columns.question), columns.question, where)
        rationale = cell_text(row.get(columns.rationale), columns.rationale, where)
        step = _step(row.get(columns.step), columns.step, where)
        problem = training_problem(problems, question, number, left_out)
        if problem is None:
            continue
        one = explored.get((problem.problem_id, rationale))
        if one is None or step > len(one.steps):
            left_out.add("not_explored" if one is None else "no_such_step", number, rationale)
            continue
        _check_prefix(row.get(PREFIX_COLUMN), one, step, where)
        texts = texts_of_row(row, columns, row_number=number, left_out=left_out, keep_empty=True)
        if texts:
            found.setdefault((one.rationale_id, step), (one, []))[1].extend(texts)
    return [
        _Drawn(one, step, index, text)
        for (_, step), (one, texts) in sorted(found.items(), key=lambda item: item[0])
        for index, text in enumerate(texts)
    ]


def _by_text(context: StageContext, wrong: Sequence[WrongRationale]) -> dict[tuple[str, str], WrongRationale]:
    """The rationales to explore by problem and text, without white space at its ends.

    The kept pairs of a problem share no rejected text; of two that differ only at their ends the last is found.
    """
    texts = context.query(
        "select rationale_id, text from int_exploration_inputs where experiment = $experiment and round = $round"
    )
    text_of = {row["rationale_id"]: row["text"].strip() for row in texts}
    return {(one.problem_id, text_of[one.rationale_id]): one for one in wrong}


def _step(value: object, column: str, where: str) -> int:
    text = cell_text(value, column, where)
    if not (text.isdecimal() and len(text) <= MAX_STEP_DIGITS and int(text) >= 1):
        raise UserError(f"Column {column!r} holds {text[:20]!r} in {where}, but a step is a whole number from 1 on.")
    return int(text)


def _check_prefix(given: object, wrong: WrongRationale, step: int, where: str) -> None:
    """A file may carry the steps it drew after: they must be the first ``step`` steps as we split them."""
    if given is None or str(given).strip() == wrong.prefix(step).strip():
        return
    raise UserError(
        f"Column {PREFIX_COLUMN!r} of {where} is not the first {step} step(s) of that rationale, which are "
        f"{wrong.prefix(step)[:SHOWN_CHARACTERS]!r}: count the steps as recipe field steps.style splits them."
    )


def _check_gaps(drawn: Sequence[_Drawn]) -> None:
    for _, group in groupby(drawn, key=lambda one: one.wrong.rationale_id):
        of_rationale = list(group)
        steps = {one.step for one in of_rationale}
        missing = next((step for step in range(1, max(steps)) if step not in steps), None)
        if missing is not None:
            question = of_rationale[0].wrong.question[:SHOWN_CHARACTERS]
            raise UserError(
                f"A rationale of {question!r} has rollouts after step {max(steps)} and none after step {missing}: "
                "the first pit may be there, so draw that step too or leave the later ones out."
            )
