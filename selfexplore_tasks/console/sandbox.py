"""A connection that can read the named experiments' tables, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from selfexplore_tasks.console.errors import TablesChanged, refusal_of
from selfexplore_tasks.console.limits import Limits
from selfexplore_tasks.console.statements import checked
from selfexplore_tasks.store.catalogue import Contents, connect_to, quoted, read_contents, view_files
from selfexplore_tasks.store.home import Store

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")


@contextmanager
def answering(
    store: Store, slugs: Sequence[str], query: str, limits: Limits | None = None
) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """Check a query; yields a new sandbox and the statement to run in it.

    ``limits``: memory, threads and seconds for DuckDB; None leaves them to DuckDB. Raises QueryRefused, also
    while the statement runs, and UserError for a store that cannot be read.
    """
    import duckdb

    statement = checked(query)
    try:
        contents = named_in(query, read_contents(store, slugs))
    except FileNotFoundError as error:
        raise TablesChanged from error
    try:
        with closing(connect_to(contents)) as connection, _interrupted(connection, limits):
            lock(connection, contents, limits)
            yield connection, statement
    except duckdb.Error as error:
        raise refusal_of(error, query) from error


def relation(connection: duckdb.DuckDBPyConnection, statement: str) -> duckdb.DuckDBPyRelation:
    """The statement's rows, not yet computed, as Arrow reads them without a copy."""
    import duckdb

    try:
        return connection.sql(statement)
    except (duckdb.BinderException, duckdb.CatalogException):
        connection.execute(statement)  # fails the same way, and says where, which a relation does not
        raise


def interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, and let Ctrl-C end it: DuckDB looks at no signal while it executes."""
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(work)
        try:
            return working.result()
        except KeyboardInterrupt:
            connection.interrupt()
            raise


def named_in(query: str, contents: Contents) -> Contents:
    """Leave out the parts of tables that neither the query nor a view it names mentions: DuckDB would open each."""
    views = _view_texts()
    texts, named = [query.lower()], set[str]()
    while texts:
        text = texts.pop()
        found = {name for name in (*views, *contents.parts) if name in text} - named
        named |= found
        texts += [views[name] for name in found if name in views]
    return replace(contents, parts={table: parts if table in named else [] for table, parts in contents.parts.items()})


@cache
def _view_texts() -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8").lower() for path in view_files()}


@contextmanager
def _interrupted(connection: duckdb.DuckDBPyConnection, limits: Limits | None) -> Iterator[None]:
    """Interrupt a connection when its seconds are over."""
    timer = threading.Timer(limits.seconds, connection.interrupt) if limits else None
    if timer is None:
        yield
        return
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def lock(connection: duckdb.DuckDBPyConnection, contents: Contents, limits: Limits | None) -> None:
    """Take from a connection whatever it does not need for reading these contents; it cannot be given back.

    The parts are allowed one by one: their folders hold the parts of other experiments, and unfinished ones.
    """
    parts = ", ".join(quoted(str(path)) for paths in contents.parts.values() for path in paths)
    settings = [
        *(() if limits is None else (f"memory_limit = '{limits.memory_bytes}B'", f"threads = {limits.threads}")),
        "temp_directory = ''",  # nothing spills to a disk
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "python_enable_replacements = false",
        "errors_as_json = true",
        f"allowed_paths = [{parts}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ]
    for setting in settings:
        connection.execute(f"set {setting}")
    connection.execute("begin transaction read only")
