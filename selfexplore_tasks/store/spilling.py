"""A bound on DuckDB's memory: sorts and joins of more rows than that go to disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from selfexplore_tasks.processes import usable_cores

if TYPE_CHECKING:
    import duckdb

MEMORY_MIB = 1_024
MEMORY_MIB_PER_CORE = 128
"""Each of DuckDB's threads needs some."""


@contextmanager
def spilling(connection: duckdb.DuckDBPyConnection, beside: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Bound a connection's memory and close it at the end; what exceeds the bound goes to a folder in ``beside``.

    The folder is gone afterwards. Housekeeping knows the name of what a killed process leaves. Where ``beside`` is not
    there no stage has run: who only looks gets the connection as it is.
    """
    folder = beside / f".spill-{uuid4().hex}.tmp"
    try:
        if beside.is_dir():
            connection.execute(f"set memory_limit = '{max(MEMORY_MIB, MEMORY_MIB_PER_CORE * usable_cores())}MiB'")
            connection.execute("set temp_directory = ?", [str(folder)])
        yield connection
    finally:
        connection.close()
        shutil.rmtree(folder, ignore_errors=True)
