"""Parquet parts: immutable files, each written in one step and stamped with the recipe hash that made it.

A part is named ``part-<stage>-<chunk>``, not after the shard that wrote it: a chunk is the same whatever the number
of shards, so a retry with another number of shards finds the chunks that are done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.files import write_atomically
from selfexplore_tasks.store.schemas import SCHEMA_VERSION, TABLES
from selfexplore_tasks.store.shared import shared_copy

PREFIX = "selfexplore."
GROUP_ROWS = 4_096
"""Rows of a row group. Parts are in order of problems, or nearly: who looks for one problem reads few groups."""


def part_name(stage: str, chunk: int) -> str:
    return f"part-{stage}-{chunk:05d}.parquet"


def to_table(table: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of one table in its stored schema; a missing or misspelled column is an error, never a null."""
    schema = TABLES[table]
    for row in rows:
        if row.keys() != set(schema.names):
            raise KeyError(f"{table}: columns {sorted(row.keys() ^ set(schema.names))} are missing or unknown")
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def write_part(path: Path, rows: pa.Table, *, recipe_hash: str, seconds: float, once: bool = False) -> None:
    """Write one part atomically; ``once`` as in `write_atomically`."""
    write_streamed_part(path, rows.schema, [rows], recipe_hash=recipe_hash, seconds=lambda: seconds, once=once)


def write_streamed_part(
    path: Path,
    schema: pa.Schema,
    rows: Iterable[pa.Table],
    *,
    recipe_hash: str,
    seconds: Callable[[], float],
    once: bool = False,
) -> None:
    """Write one part as its rows come, atomically: no more than two row groups are in memory, besides what comes.

    ``seconds`` is asked after the last row.
    """

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, schema.remove_metadata(), compression="zstd") as writer:
            for group in _groups(rows):
                writer.write_table(group.replace_schema_metadata(None), row_group_size=GROUP_ROWS)
            stamps = {"schema_version": SCHEMA_VERSION, "recipe_hash": recipe_hash, "seconds": f"{seconds():.3f}"}
            writer.add_key_value_metadata({f"{PREFIX}{key}": str(value) for key, value in stamps.items()})

    write_atomically(path, write, once=once)


def _groups(rows: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut tables of any length into whole row groups; the last one may be shorter."""
    waiting: list[pa.Table] = []
    for more in rows:
        waiting.append(more)
        count = sum(table.num_rows for table in waiting)
        if count >= GROUP_ROWS:
            together = pa.concat_tables(waiting)
            whole = count - count % GROUP_ROWS
            yield together.slice(0, whole)
            waiting = [together.slice(whole)]
    if any(table.num_rows for table in waiting):
        yield pa.concat_tables(waiting)


def read_stamps(path: Path) -> dict[str, str]:
    """The stamps of a part: ``schema_version``, ``recipe_hash`` and ``seconds``."""
    stored = pq.read_metadata(path).metadata or {}
    return {
        key.decode().removeprefix(PREFIX): value.decode()
        for key, value in stored.items()
        if key.startswith(PREFIX.encode())
    }


def have_parts(paths: Sequence[Path]) -> bool:
    """Whether every part exists; those of a shared store that other machines wrote are fetched."""
    missing = [path for path in paths if not path.exists()]
    copy = shared_copy(missing[0]) if missing else None
    return not missing if copy is None else copy.has_all(missing)


def is_done(path: Path, *, recipe_hash: str) -> bool:
    """Whether the part exists, on whatever machine; raises UserError if another recipe made it."""
    if not have_parts([path]):
        return False
    found = read_stamps(path).get("recipe_hash")
    if found != recipe_hash:
        raise UserError(
            f"{path} was made under recipe hash {found}, this run has {recipe_hash}: "
            "delete the experiment or choose another experiment name."
        )
    return True
