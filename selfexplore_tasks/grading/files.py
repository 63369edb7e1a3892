"""Grading the rows of a jsonl or parquet file: a prediction a row, its gold answer, and perhaps a label.

A prediction is a completion: its strict answer counts. Where it states none, the whole text is the answer if it is
one line of at most ``MAX_BARE_ANSWER`` characters. A row with a Math-Verify configuration is another matter: both
raw texts go to Math-Verify under these settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.grading.extract import extract_answer
from selfexplore_tasks.grading.grader import AnswerPair, Grader, Reason, SecondGrader
from selfexplore_tasks.grading.pool import SymbolicOptions
from selfexplore_tasks.table_files import Table, cell_text, missing_column, read_table_file

ANSWER_PHRASES = ("The answer is", "The final answer is", "Answer:", "A:")
"""Tried in this order where no phrase is given."""
MAX_BARE_ANSWER = 200
CONFIG_COLUMN = "config"

_LABELS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


@dataclass(frozen=True)
class FileColumns:
    """Which column holds what; ``config`` None takes the column ``config`` if it holds configurations."""

    gold: str
    prediction: str
    label: str | None = None
    config: str | None = None


@dataclass(frozen=True)
class FileRow:
    """One row to grade; ``number`` is 1-based (jsonl: the line)."""

    number: int
    gold: str
    prediction: str
    label: bool | None
    options: SymbolicOptions | None


@dataclass(frozen=True)
class GradedRow:
    """A row with the answer that was compared (None: none was stated), the verdict and what decided it."""

    row: FileRow
    answer: str | None
    is_correct: bool
    reason: Reason
    is_correct_second: bool | None

    @property
    def verdict(self) -> str:
        """``correct``, ``wrong`` or ``no_answer``, as for a rationale."""
        return "correct" if self.is_correct else "no_answer" if self.answer is None else "wrong"


def read_rows(path: str, columns: FileColumns) -> list[FileRow]:
    """Return the rows of a file. Raises UserError for a bad file, a missing column, or a cell of the wrong kind."""
    wanted = [columns.gold, columns.prediction, *([columns.label] if columns.label else [])]
    config = columns.config or CONFIG_COLUMN
    table = read_table_file(path, [*wanted, config])
    for name in (*wanted, *([columns.config] if columns.config else [])):
        if name not in table.columns:
            raise missing_column(table, name)
    if not columns.config and not _holds_configurations(table, config):
        config = ""
    return [_read_row(row, columns, config, number, f"row {number} of {path}") for number, row in table.rows]


def _read_row(row: Mapping[str, object], columns: FileColumns, config: str, number: int, where: str) -> FileRow:
    return FileRow(
        number=number,
        gold=cell_text(row.get(columns.gold), columns.gold, where),
        prediction=cell_text(row.get(columns.prediction), columns.prediction, where),
        label=_label(row.get(columns.label), columns.label, where) if columns.label else None,
        options=_options(row.get(config), config, where),
    )


def _label(value: object, column: str, where: str) -> bool:
    label = _LABELS.get(str(value).strip().casefold().removesuffix(".0"))
    if label is None:
        shown = "nothing" if value is None else repr(value)[:40]
        raise UserError(
            f"Column {column!r} holds {shown} in {where}, but a label is true or false (also yes/no, 1/0): "
            "name another column with --label."
        )
    return label


def _holds_configurations(table: Table, column: str) -> bool:
    cells = [row.get(column) for _, row in table.rows]
    return any(cells) and all(cell is None or (isinstance(cell, dict) and "match_types" in cell) for cell in cells)


def _options(cell: object, column: str, where: str) -> SymbolicOptions | None:
    """Read ``{"match_types": ["latex", "expr"], "precision": 6, "strict": true, ...}``; only the first is needed."""
    if cell is None:
        return None
    settings: dict[str, Any] = cast(dict[str, Any], cell) if isinstance(cell, dict) else {}
    # A parquet struct has every field in every row.
    settings = {name: value for name, value in settings.items() if value is not None}
    try:
        match_types = tuple(settings.pop("match_types"))
        precision = int(str(settings.pop("precision", SymbolicOptions.precision)))
        options = SymbolicOptions(match_types, precision, **settings)
        flags = (options.strict, options.allow_set_relation_comp)
        is_valid = match_types and set(match_types) <= {"latex", "expr"} and all(isinstance(one, bool) for one in flags)
    except (KeyError, TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise UserError(
            f"Column {column!r} holds no configuration of Math-Verify in {where}: it is an object with match_types "
            '(a list of "latex", "expr") and perhaps precision, strict, allow_set_relation_comp.'
        )
    return options


def grade_rows(
    rows: Sequence[FileRow],
    *,
    answer_phrase: str | None = None,
    second: SecondGrader | None = None,
    timeout_s: float = 5.0,
) -> list[GradedRow]:
    """Return the grade of every row, in order; ``timeout_s`` bounds one symbolic comparison.

    Without ``answer_phrase`` the first of ``ANSWER_PHRASES`` that gives an answer is taken.
    """
    phrases = ANSWER_PHRASES if answer_phrase is None else (answer_phrase,)
    answers = [row.prediction if row.options else _answer(row.prediction, phrases) for row in rows]
    pairs = [AnswerPair(row.gold, answer or "", row.options) for row, answer in zip(rows, answers, strict=True)]
    with Grader(answer_phrase=phrases[0], second=second, timeout_s=timeout_s) as grader:
        equalities = grader.compare(pairs)
    return [
        GradedRow(
            row=row,
            answer=answer,
            is_correct=answer is not None and equality.is_equal,
            reason="no_answer" if answer is None else equality.reason,
            is_correct_second=None if second is None else answer is not None and bool(equality.is_equal_second),
        )
        for row, answer, equality in zip(rows, answers, equalities, strict=True)
    ]


def _answer(prediction: str, phrases: Sequence[str]) -> str | None:
    if answer := extract_answer(prediction, *phrases):
        return answer
    is_bare = 0 < len(prediction) <= MAX_BARE_ANSWER and len(prediction.splitlines()) == 1
    return prediction if is_bare else None
