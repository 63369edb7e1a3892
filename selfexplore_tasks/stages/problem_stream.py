"""Work problem by problem on more rationales than fit in memory: read in order, worked on by processes, in order again.

DuckDB sorts the rows by problem (and spills to disk what exceeds its memory). They come as tables of whole problems,
and each is worked on alone, so that neither the number of processes nor where tables are cut changes a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.store.parts import write_streamed_part
from selfexplore_tasks.store.schemas import TABLES

TABLE_ROWS = 2_048
"""Rows of a table, or more where one problem has more."""


def candidates_of(context: StageContext, sql: str, schema: pa.Schema, **values: object) -> Iterator[pa.Table]:
    """Yield the rows of a SELECT ordered by problem_id as tables of whole problems, in a schema.

    ``$experiment`` and ``$round`` are given, as in ``StageContext.query``.
    """
    given = {"experiment": context.slug, "round": context.round_number, **values}
    with context.catalogue() as connection:
        batches = connection.sql(sql, params=given).to_arrow_reader(TABLE_ROWS)
        tables = (pa.Table.from_batches([batch]).select(schema.names).cast(schema) for batch in batches)
        yield from whole_problems(tables, TABLE_ROWS)


def whole_problems(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Cut tables that are in order of problem_id anew, so that no problem is in two and most have about ``rows``."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(one.num_rows for one in waiting) >= rows:
            together = pa.concat_tables(waiting)
            begin = pc.index(together["problem_id"], together["problem_id"][-1]).as_py()
            if begin:
                yield together.slice(0, begin)
            waiting = [together.slice(begin)]
    if any(one.num_rows for one in waiting):
        yield pa.concat_tables(waiting)


def each_problem(candidates: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows of each problem, and the number of the first one, from a table of whole problems."""
    begin = 0
    for run in pc.run_end_encode(candidates["problem_id"].combine_chunks()).run_ends.to_pylist():
        yield begin, candidates.slice(begin, run - begin)
        begin = run


def write_rows_of(
    context: StageContext, table: str, rows: Iterable[pa.Table], tally: Callable[[pa.Table], None]
) -> Path:
    """Write one part of a table as its rows come; ``tally`` sees each table of them."""

    def counted() -> Iterator[pa.Table]:
        for some in rows:
            tally(some)
            yield some

    path = context.part_path(table)
    write_streamed_part(
        path,
        TABLES[table],
        counted(),
        recipe_hash=context.recipe_hash,
        seconds=lambda: time.monotonic() - context.started,
    )
    return path
