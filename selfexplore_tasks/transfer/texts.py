"""Reading completions that were made elsewhere: exactly as they are, and nothing that could stall a later stage."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field

from selfexplore_tasks.engines.protocol import FinishReason
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.table_files import Table, check_encodable, missing_column, read_table_file, user_path

SHOWN_ROWS = 5
SHOWN_CHARACTERS = 80
MAX_CHARACTERS = 20_000
"""Longer texts are left out: edit distances take time with the product of two lengths."""
FINISH_REASON_COLUMN, PREFIX_COLUMN = OPTIONAL_COLUMNS = ("finish_reason", "prefix")
_FINISH_REASONS: dict[str | None, FinishReason] = {"stop": "stop", "length": "length", None: "stop"}


@dataclass(frozen=True, kw_only=True)
class TextColumns:
    """Which column holds what: ``texts`` strings or lists of strings; ``finish_reason`` None: used if it is there."""

    question: str = "question"
    texts: str = "texts"
    finish_reason: str | None = None


@dataclass(frozen=True)
class Text:
    """One completion; ``content`` is exactly as in the file, ``finish_reason`` is `stop` or `length`."""

    content: str
    finish_reason: FinishReason


@dataclass
class LeftOut:
    """What is not imported: how often for which reason, and the first few rows in words."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, reason: str, row_number: int, excerpt: str) -> None:
        """Count one row or text."""
        self.counts[reason] += 1
        if len(self.examples) < SHOWN_ROWS:
            shown = " ".join(excerpt[: 2 * SHOWN_CHARACTERS].split())[:SHOWN_CHARACTERS]
            self.examples.append(f"row {row_number}, {reason}: {shown!r}")

    def summary(self) -> str:
        """E.g. `3 unknown_question, 1 empty_text`."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.counts.most_common())


def file_hash(name: str) -> str:
    """Return the SHA-256 of a file's bytes as hex; raises UserError where it cannot be read."""
    try:
        with user_path(name).open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}): check the path.") from error


def read_columns(name: str, columns: TextColumns) -> Table:
    """Read the columns of a jsonl or parquet file; raises UserError where the file or a named column is missing."""
    named = [column for column in asdict(columns).values() if column is not None]
    table = read_table_file(name, [*named, *OPTIONAL_COLUMNS])
    for column in named:
        if column not in table.columns:
            raise missing_column(table, column)
    return table


def texts_of_row(
    row: dict[str, object], columns: TextColumns, *, row_number: int, left_out: LeftOut, keep_empty: bool
) -> list[Text]:
    """The completions of one row (a string or a list of strings) with their finish reasons.

    There is one finish reason for all or one each; null and a missing column mean `stop`. What cannot be used goes to
    ``left_out``. An empty completion is one only with ``keep_empty`` (a model may end at once).
    Raises UserError for a cell that holds something else.
    """
    finish_reason = columns.finish_reason or FINISH_REASON_COLUMN
    contents = _strings(row.get(columns.texts), columns.texts, row_number)
    reasons = _strings(row.get(finish_reason), finish_reason, row_number)
    if not contents:
        left_out.add("no_text", row_number, "")
    if len(reasons) == 1:
        reasons *= len(contents)
    if reasons and len(reasons) != len(contents):
        raise UserError(
            f"Row {row_number} has {len(contents)} texts and {len(reasons)} values in column {finish_reason!r}: "
            "give one for each text, or one for all."
        )
    found = []
    for content, reason in zip(contents, reasons or [None] * len(contents), strict=True):
        if content is None or not (content.strip() or keep_empty):
            left_out.add("empty_text", row_number, "")
        elif len(content) > MAX_CHARACTERS:
            left_out.add("too_long", row_number, content)
        elif reason not in _FINISH_REASONS:
            left_out.add("unknown_finish_reason", row_number, str(reason))
        else:
            found.append(Text(content, _FINISH_REASONS[reason]))
    return found


def _strings(value: object, column: str, row_number: int) -> list[str | None]:
    """A cell as a list of strings: one string is a list of one, null is empty."""
    if value is None:
        return []
    found: list[str | None] = []
    for item in value if isinstance(value, list) else [value]:
        if item is not None and not isinstance(item, str):
            raise UserError(
                f"Column {column!r} holds a {type(item).__name__} in row {row_number}, but text or a list of texts is "
                "needed: name another column."
            )
        if item is not None:
            check_encodable(item, column, f"row {row_number}")
        found.append(item)
    return found
