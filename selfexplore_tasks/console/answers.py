"""The rows of a query as an answer for a page or a file, cut at the limits."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.console.cells import csv_cell, plain
from selfexplore_tasks.console.errors import QueryRefused, refusal_of
from selfexplore_tasks.console.limits import MIB, Limits
from selfexplore_tasks.console.sandbox import relation

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

FETCHED_ROWS = 500


@dataclass(frozen=True)
class Written:
    """What a file holds."""

    row_count: int
    is_cut: bool


def shown(cursor: duckdb.DuckDBPyConnection, limits: Limits, begun: float) -> bytes:
    """A `QueryResult` as JSON; ``begun`` is when its seconds began (monotonic)."""
    columns = [{"name": name, "type": str(kind), "doc": ""} for name, kind, *_ in cursor.description or ()]
    encoded: list[bytes] = []
    left, is_cut = limits.answer_bytes, False
    for row in _rows(cursor, limits.rows + 1):
        text = json.dumps([plain(cell) for cell in row], ensure_ascii=False, separators=(",", ":")).encode()
        left -= len(text)
        if len(encoded) == limits.rows or left < 0:
            is_cut = True
            break
        encoded.append(text)
    if is_cut and not encoded:
        raise _too_wide(limits)
    rest = {"row_count": len(encoded), "is_cut": is_cut, "seconds": round(time.monotonic() - begun, 3)}
    head = json.dumps({"columns": columns}, ensure_ascii=False).encode()
    return head[:-1] + b',"rows":[' + b",".join(encoded) + b"]," + json.dumps(rest).encode()[1:]


def write_csv(connection: duckdb.DuckDBPyConnection, statement: str, limits: Limits, target: Path) -> Written:
    cursor = connection.execute(statement)
    count, is_cut = 0, False
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([csv_cell(name) for name, *_ in cursor.description or ()])
        for row in _rows(cursor, limits.rows + 1):
            if count == limits.rows or file.tell() > limits.answer_bytes:
                is_cut = True
                break
            writer.writerow([csv_cell(cell) for cell in row])
            count += 1
    return Written(count, is_cut)


def write_parquet(connection: duckdb.DuckDBPyConnection, statement: str, limits: Limits, target: Path) -> Written:
    import pyarrow.parquet as pq

    count, left, is_cut = 0, limits.answer_bytes, False
    reader = relation(connection, statement).to_arrow_reader(10 * FETCHED_ROWS)
    with pq.ParquetWriter(target, reader.schema) as writer:
        for batch in _batches(reader, statement):
            fitting = batch.num_rows if batch.nbytes <= left else batch.num_rows * left // batch.nbytes
            kept = batch.slice(0, min(fitting, limits.rows - count))
            writer.write_batch(kept)
            count, left, is_cut = count + kept.num_rows, left - kept.nbytes, kept.num_rows < batch.num_rows
            if is_cut:
                break
    if is_cut and count == 0:
        raise _too_wide(limits)
    return Written(count, is_cut)


WRITERS: dict[str, Callable[[duckdb.DuckDBPyConnection, str, Limits, Path], Written]] = {
    "csv": write_csv,
    "parquet": write_parquet,
}


def _batches(reader: pa.RecordBatchReader, statement: str) -> Iterator[pa.RecordBatch]:
    """What is read; Arrow makes an OSError of whatever DuckDB says meanwhile, which becomes a QueryRefused here."""
    try:
        yield from reader
    except OSError as error:
        raise refusal_of(error, statement) from error


def _rows(cursor: duckdb.DuckDBPyConnection, most: int) -> Iterator[tuple[Any, ...]]:
    """Up to ``most`` rows, fetched a few at a time."""
    while most > 0:
        rows = cursor.fetchmany(min(most, FETCHED_ROWS))
        if not rows:
            return
        yield from rows
        most -= len(rows)


def _too_wide(limits: Limits) -> QueryRefused:
    return QueryRefused(
        f"One row is larger than the {limits.answer_bytes // MIB} MiB that an answer may have: "
        "select fewer columns, or cut texts with left(text, 1000)."
    )
