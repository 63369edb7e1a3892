"""Parquet parts: immutable files, each written in one step and stamped with the recipe hash that made it.

A part is named ``part-<stage>-<chunk>``, not after the shard that wrote it: a chunk is the same whatever the number
of shards, so a retry with another number of shards finds the chunks that are done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.files import write_atomically
from selfexplore_tasks.store.schemas import SCHEMA_VERSION, TABLES

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


def write_part(path: Path, rows: pa.Table, *, recipe_hash: str, seconds: float) -> None:
    """Write one part atomically."""
    stamps = {"schema_version": SCHEMA_VERSION, "recipe_hash": recipe_hash, "seconds": f"{seconds:.3f}"}
    stamped = rows.replace_schema_metadata({f"{PREFIX}{key}": str(value) for key, value in stamps.items()})
    write_atomically(
        path, lambda temporary: pq.write_table(stamped, temporary, compression="zstd", row_group_size=GROUP_ROWS)
    )


def read_stamps(path: Path) -> dict[str, str]:
    """The stamps of a part: ``schema_version``, ``recipe_hash`` and ``seconds``."""
    stored = pq.read_schema(path).metadata or {}
    return {key.decode().removeprefix(PREFIX): value.decode() for key, value in stored.items()}


def is_done(path: Path, *, recipe_hash: str) -> bool:
    """Whether the part exists; raises UserError if another recipe made it."""
    if not path.exists():
        return False
    found = read_stamps(path).get("recipe_hash")
    if found != recipe_hash:
        raise UserError(
            f"{path} was made under recipe hash {found}, this run has {recipe_hash}: "
            "delete the experiment or choose another experiment name."
        )
    return True
