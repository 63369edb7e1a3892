"""Solutions in steps with a human label of the first wrong one, as ProcessBench (arXiv 2412.06559) publishes them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.problems.benchmarks import BENCHMARKS
from selfexplore_tasks.problems.sources import normalise_question, read_source
from selfexplore_tasks.recipe import BenchmarkSource, Columns, TableSource
from selfexplore_tasks.table_files import Table, cell_text, check_encodable, missing_column, read_table_file

STEP_SEPARATOR = "\n\n"
"""What stands between two steps when a solution is continued."""


@dataclass(frozen=True)
class LabelColumns:
    """Which column of the file holds what; ``gold`` None takes the gold answers from elsewhere."""

    question: str = "problem"
    steps: str = "steps"
    label: str = "label"
    gold: str | None = None


@dataclass(frozen=True)
class LabelledSolution:
    """A solution with its steps; ``label`` is the 0-based index of the first wrong one, -1 if none is wrong."""

    solution_id: str
    question: str
    gold_answer: str
    steps: tuple[str, ...]
    label: int


def read_labels(name: str, columns: LabelColumns, golds: str | None) -> list[LabelledSolution]:
    """Read labelled solutions from a .jsonl or .parquet file.

    Args:
        golds: where gold answers come from if the file has no column for them: `gsm8k`, `math` or `svamp` (the test
            split), or a file with the columns `question` and `answer`.

    Raises:
        UserError: the file or a column is missing, a row is no labelled solution, or a question has no gold answer.
    """
    wanted = [columns.question, columns.steps, columns.label, *([columns.gold] if columns.gold else [])]
    table = read_table_file(name, {*wanted, "id"})
    for column in wanted:
        if column not in table.columns:
            raise missing_column(table, column)
    if columns.gold is None and golds is None:
        raise UserError(
            f"{name} needs gold answers to grade rollouts: name their column with --gold, "
            f"or their source with --golds ({', '.join(BENCHMARKS)}, or a file with question and answer)."
        )
    known = {} if columns.gold or golds is None else _gold_answers(golds)
    return [_solution(number, row, table, columns, known) for number, row in table.rows]


def sample_labels(solutions: list[LabelledSolution], limit: int | None, seed: int) -> list[LabelledSolution]:
    """A seeded sample of at most ``limit`` solutions, in the order of the file."""
    if limit is None or limit >= len(solutions):
        return solutions
    chosen = set(random.Random(seed).sample(range(len(solutions)), limit))
    return [solution for index, solution in enumerate(solutions) if index in chosen]


def _gold_answers(golds: str) -> dict[str, str]:
    source: BenchmarkSource | TableSource
    if golds in BENCHMARKS:
        source = BenchmarkSource(kind=golds, split="test")
    else:
        source = TableSource(kind="file", path=golds, columns=Columns())
    candidates, _ = read_source(source, seed=0, answer_phrase="The answer is")
    return {normalise_question(candidate.question): candidate.gold_answer for candidate in candidates}


def _solution(
    number: int, row: Mapping[str, object], table: Table, columns: LabelColumns, known: Mapping[str, str]
) -> LabelledSolution:
    where = f"row {number} of {table.origin}"
    question = cell_text(row.get(columns.question), columns.question, where)
    steps, label = row.get(columns.steps), row.get(columns.label)
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
        raise UserError(f"Column {columns.steps!r} of {where} must be a list of texts, one a step.")
    for step in steps:
        check_encodable(step, columns.steps, where)
    if isinstance(label, bool) or not isinstance(label, int) or not -1 <= label < len(steps):
        raise UserError(
            f"Column {columns.label!r} of {where} must be the 0-based number of the first wrong step, or -1 for none; "
            f"got {label!r} for {len(steps)} steps."
        )
    gold = cell_text(row.get(columns.gold), columns.gold, where) if columns.gold else None
    gold = gold or known.get(normalise_question(question))
    if not gold:
        raise UserError(f"The question in {where} has no gold answer: check --gold or --golds.")
    # Rollouts are kept and seeded by this id: with the row's number it is unique.
    return LabelledSolution(f"{row.get('id') or 'row'}#{number}", question, gold, tuple(steps), label)
