"""A bound on DuckDB's memory: sorts and joins of more rows than that go to disk."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from selfexplore_tasks.processes import usable_cores

if TYPE_CHECKING:
    import duckdb

MEMORY_MIB = 1_024
MEMORY_MIB_PER_THREAD = 128
"""Each of DuckDB's threads needs some."""
_MIB = {"bytes": 2.0**-20, "KiB": 2.0**-10, "MiB": 1.0, "GiB": 2.0**10, "TiB": 2.0**20, "PiB": 2.0**30}


@contextmanager
def spilling(connection: duckdb.DuckDBPyConnection, beside: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Bound a connection's memory and close it at the end; what exceeds the bound goes to a folder in ``beside``.

    The folder is gone afterwards; what killed processes left is removed here. Where ``beside`` is not there no stage
    has run: who only looks gets the connection as it is.
    """
    if not beside.is_dir():
        try:
            yield connection
        finally:
            connection.close()
        return
    _remove_abandoned(beside)
    lock = beside / f".spill-{uuid4().hex}.lock.tmp"
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            _bound(connection)
            connection.execute("set temp_directory = ?", [str(_folder(lock))])
            yield connection
        finally:
            connection.close()
            shutil.rmtree(_folder(lock), ignore_errors=True)
            lock.unlink(missing_ok=True)


def _bound(connection: duckdb.DuckDBPyConnection) -> None:
    """Lower DuckDB's own bound, a share of what the machine or container has; take no more threads than it carries."""
    threads, own = connection.sql("select current_setting('threads'), current_setting('memory_limit')").fetchall()[0]
    number, unit = str(own).split()
    own_mib = int(float(number) * _MIB[unit])
    limit = min(own_mib, max(MEMORY_MIB, MEMORY_MIB_PER_THREAD * min(threads, usable_cores())))
    connection.execute(f"set memory_limit = '{limit}MiB'")
    connection.execute(f"set threads = {max(1, min(threads, limit // MEMORY_MIB_PER_THREAD))}")


def _remove_abandoned(beside: Path) -> None:
    """Remove the folders of processes that were killed: the kernel has let go of their locks."""
    for lock in beside.glob(".spill-*.lock.tmp"):
        with suppress(FileNotFoundError, BlockingIOError), lock.open("r+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(_folder(lock), ignore_errors=True)
            lock.unlink()


def _folder(lock: Path) -> Path:
    return lock.with_name(lock.name.replace(".lock.tmp", ".tmp"))
