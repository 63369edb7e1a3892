"""Reading a local jsonl or parquet file by column names; whatever is wrong with it is a UserError of one sentence."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from selfexplore_tasks.errors import UserError

_SHOWN_COLUMNS = 20


@dataclass(frozen=True)
class Table:
    """Rows as read: the columns the source has, and the wanted ones of every row with its number.

    Row numbers are 1-based; in a jsonl file they are the lines'.
    """

    origin: str
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, object]]]


def read_table_file(name: str, wanted: Collection[str]) -> Table:
    """Return the wanted columns of a .jsonl or .parquet file, as far as it has them.

    Raises UserError where the file is missing, empty, broken, not UTF-8, or of another kind.
    """
    readers = {".jsonl": _read_jsonl, ".parquet": _read_parquet}
    path = user_path(name)
    if path.suffix.lower() not in readers:
        raise UserError(f"{name} is neither .jsonl nor .parquet: convert it to one of the two.")
    try:
        if not path.exists():
            raise UserError(f"{name} does not exist: check the path.")
        table = readers[path.suffix.lower()](path, name, wanted) if path.stat().st_size else Table(name, (), [])
    except OSError as error:
        # pyarrow reports some corrupt files as plain OSErrors without an errno.
        problem = f"cannot be read ({error.strerror})" if error.errno else "is corrupt or not a parquet file"
        raise UserError(f"{name} {problem}: check the file.") from error
    if not table.rows:
        raise UserError(f"{name} is empty: it holds no row.")
    return table


def missing_column(table: Table, missing: str) -> UserError:
    """Return the error for a column the table does not have; it names the nearest one."""
    present = sorted(table.columns)
    near = difflib.get_close_matches(missing.casefold(), [name.casefold() for name in present], n=1)
    hint = next((f" (nearest: {name!r})" for name in present if near and name.casefold() == near[0]), "")
    shown = ", ".join(present[:_SHOWN_COLUMNS]) + (", …" if len(present) > _SHOWN_COLUMNS else "")
    return UserError(f"{table.origin} has no column {missing!r}{hint}: it has {shown}.")


def cell_text(value: object, column: str, where: str) -> str:
    """Return a cell as text: whole floats without their ``.0``, nothing for null and NaN.

    ``where`` names the row. Raises UserError for what is neither text nor a number.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise UserError(
            f"Column {column!r} holds a {type(value).__name__} in {where}, but text or a number is needed: "
            "map another column."
        )
    text = str(value).strip()
    check_encodable(text, column, where)
    return text


def check_encodable(text: str, column: str, where: str) -> None:
    """Raise UserError for half a surrogate pair, which JSON can write and nothing can store."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"Column {column!r} holds half a surrogate pair in {where}, which is not valid text: repair that row."
        ) from error


def user_path(name: str) -> Path:
    """Return the path a person wrote, with `~` filled in; raises UserError where that is nobody's home."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name} cannot be found ({error}): write the path out.") from error


def _read_jsonl(path: Path, name: str, wanted: Collection[str]) -> Table:
    columns: set[str] = set()
    rows: list[tuple[int, dict[str, object]]] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            row = _parse_line(line, f"Line {number} of {name}")
            if row is not None:
                columns.update(row)
                rows.append((number, {key: row[key] for key in wanted if key in row}))
    return Table(name, tuple(sorted(columns)), rows)


def _parse_line(line: bytes, where: str) -> dict[str, object] | None:
    """Return the object of one line; None for a blank line."""
    try:
        text = line.decode("utf-8-sig").strip()
        row = json.loads(text) if text else None
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8: save the file as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON ({error}): repair or remove that line.") from error
    if row is not None and not isinstance(row, dict):
        raise UserError(f"{where} is a JSON {type(row).__name__}, but an object with named columns is needed.")
    return row


def _read_parquet(path: Path, name: str, wanted: Collection[str]) -> Table:
    try:
        with pq.ParquetFile(path) as file:
            columns = tuple(file.schema_arrow.names)
            rows: list[dict[str, object]] = []
            for batch in file.iter_batches(columns=sorted(set(wanted) & set(columns))):
                rows.extend(batch.to_pylist())
    except UnicodeDecodeError as error:
        raise UserError(f"{name} holds text that is not UTF-8: write the file again as UTF-8.") from error
    except (pa.ArrowException, EOFError) as error:
        raise UserError(f"{name} is corrupt or not a parquet file: write it again.") from error
    return Table(name, columns, list(enumerate(rows, start=1)))
