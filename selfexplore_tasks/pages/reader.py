"""Reading the store for pages: one DuckDB for the life of a process, and of every experiment what its manifests say.

A page reads only the parts it needs: the tables, rounds and, for a single problem, the parts whose range of problem ids
holds it. What a stage has committed never changes under the same manifest, so small results are kept until a manifest
of their round does. Model texts are read when a problem is opened, and never kept.
"""

from __future__ import annotations

import functools
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pyarrow as pa

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.pages.snapshot import (
    NotFound,
    Snapshot,
    Unreadable,
    Vanished,
    fingerprint_of,
    read_snapshot,
)
from selfexplore_tasks.store.catalogue import SQL_DIR, parts_sql
from selfexplore_tasks.store.experiments import experiment_names
from selfexplore_tasks.store.home import Store, check_slug
from selfexplore_tasks.store.schemas import KEYS, TABLES
from selfexplore_tasks.store.shared import shared_copy
from selfexplore_tasks.store.shared.remote import StoreUnreachable

if TYPE_CHECKING:
    import duckdb

Made = TypeVar("Made")
Given = ParamSpec("Given")
Parts = Mapping[str, Sequence[Path]]
"""Paths of parts by the name of the view they become."""

MEMORY_LIMIT = "384MiB"
THREADS = 2
KEPT_BYTES = 96 * 2**20
ENTRY_BYTES = 4_096
"""What a kept result takes beside its content: its name and the versions of the files it was made of."""
REFRESH_S, PATIENCE_S = 3.0, 5.0
"""Of a shared store: how old an answer may be, and how long a page waits for one."""
RANGE_COLUMN = "problem_id"


def again_if_changed(page: Callable[Given, Made]) -> Callable[Given, Made]:
    """Make a page once more, from what the store says then, where a file vanished under it: a stage was redone."""

    @functools.wraps(page)
    def make(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        try:
            return page(*args, **kwargs)
        except Vanished:
            return page(*args, **kwargs)

    return make


@dataclass(frozen=True)
class _Kept:
    """A result, the version of what it was made of, and its size."""

    version: object
    content: Any
    size: int


@dataclass
class _Range:
    """Smallest and largest problem id of a part; None where its file does not say."""

    low: str | None
    high: str | None

    def holds(self, problem_id: str) -> bool:
        return self.low is None or self.high is None or self.low <= problem_id <= self.high


@dataclass
class Reader:
    """What every page reads through. Safe to share between threads."""

    store: Store
    _snapshots: dict[str, Snapshot] = field(default_factory=dict, repr=False)
    _results: OrderedDict[object, _Kept] = field(default_factory=OrderedDict, repr=False)
    _kept_bytes: int = 0
    _ranges: dict[tuple[Path, str], _Range] = field(default_factory=dict, repr=False)
    _making: dict[object, threading.Lock] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _connection: duckdb.DuckDBPyConnection | None = field(default=None, repr=False)

    def slugs(self) -> list[str]:
        """Names of all experiments."""
        self._refresh()
        return experiment_names(self.store)

    def snapshot(self, slug: str) -> Snapshot:
        """The experiment as it is now; raises NotFound, or Unreadable."""
        try:
            path = self.store.experiment_file(check_slug(slug))
        except UserError as error:
            raise NotFound(str(error)) from error
        self._refresh()
        if not path.exists():
            self._snapshots.pop(slug, None)
            raise NotFound(f"There is no experiment {slug!r}.")
        now = fingerprint_of(self.store, slug)
        known = self._snapshots.get(slug)
        if known is None or known.fingerprint != now:
            known = self._snapshots[slug] = read_snapshot(self.store, slug, now)
        return known

    def _refresh(self) -> None:
        """Bring what other machines did in a shared store."""
        copy = shared_copy(self.store.root)
        if copy is None:
            return
        try:
            copy.pull_if_older(REFRESH_S, patience_s=PATIENCE_S)
        except StoreUnreachable as error:
            raise Unreadable(f"{str(error).capitalize()}.") from error

    def remember(self, name: tuple[object, ...], version: object, make: Callable[[], Made]) -> Made:
        """Return what ``make`` made under this name and version before, or make it, in the place of another version.

        Threads that ask for the same wait for one. The results asked for longest ago leave when all together are too
        large.
        """
        with self._lock:
            lock = self._making.setdefault((name, version), threading.Lock())
        with lock:
            with self._lock:
                kept = self._results.get(name)
                if kept is not None and kept.version == version:
                    self._results.move_to_end(name)
                    found: Made = kept.content
                    return found
            try:
                made = make()
            finally:
                with self._lock:
                    self._making.pop((name, version), None)
            with self._lock:
                self._keep(name, _Kept(version, made, ENTRY_BYTES + _size(made)))
            return made

    def _keep(self, name: object, result: _Kept) -> None:
        old = self._results.pop(name, None)
        self._results[name] = result
        self._kept_bytes += result.size - (old.size if old else 0)
        while self._kept_bytes > KEPT_BYTES:
            _, dropped = self._results.popitem(last=False)
            self._kept_bytes -= dropped.size

    def table(
        self,
        name: str,
        parts: Parts | None = None,
        tables: Mapping[str, pa.Table] | None = None,
        **variables: object,
    ) -> pa.Table:
        """Rows of ``sql/pages/<name>.sql``.

        Args:
            parts: parts of stored tables by table, or by another name ``<name>:<table>``; without parts it is empty.
            tables: small Arrow tables by name.
            variables: values for ``getvariable('name')`` in the SQL.

        Raises:
            Vanished: a part is gone. Unreadable: a part is damaged, or memory ran out.
        """
        import duckdb

        cursor = self._duckdb().cursor()
        try:
            for label, paths in (parts or {}).items():
                view, _, table = label.partition(":")
                _create_view(cursor, view, table or view, paths)
            for view, content in (tables or {}).items():
                cursor.register(view, content)
            for key, value in variables.items():
                cursor.execute(f"set variable {key} = ?", [value])
            return cursor.sql(_sql(name)).to_arrow_table()
        except duckdb.IOException as error:
            raise Vanished("The tables changed while they were read, or a part of them is missing.") from error
        except (duckdb.InvalidInputException, duckdb.OutOfMemoryException) as error:
            raise Unreadable("A part of the tables is damaged, or memory ran out while it was read.") from error
        finally:
            cursor.close()

    def rows(
        self,
        name: str,
        parts: Parts | None = None,
        tables: Mapping[str, pa.Table] | None = None,
        **variables: object,
    ) -> list[dict[str, Any]]:
        """As `table`, one dict a row."""
        found: list[dict[str, Any]] = self.table(name, parts, tables, **variables).to_pylist()
        return found

    def parts_with(self, snapshot: Snapshot, table: str, problem_id: str) -> list[Path]:
        """The parts of a table that may hold rows of a problem, by the ranges in their footers."""
        dated = {
            (snapshot.store.table_dir(table, snapshot.slug, manifest.round) / name, manifest.finished_at)
            for manifest in snapshot.manifests
            for name in manifest.parts.get(table, ())
        }
        with self._lock:
            unknown = dated - self._ranges.keys()
        found = {key: _range_of(key[0]) for key in unknown}
        with self._lock:
            self._ranges.update(found)
            return sorted(key[0] for key in dated if self._ranges[key].holds(problem_id))

    def _duckdb(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._connection is None:
                self._connection = _connect()
            return self._connection


def _connect() -> duckdb.DuckDBPyConnection:
    import duckdb

    settings = {"memory_limit": MEMORY_LIMIT, "threads": THREADS, "temp_directory": ""}
    connection = duckdb.connect(":memory:", config=settings)
    connection.execute("load parquet")  # or it does not know the next setting yet
    connection.execute("set parquet_metadata_cache = true")
    return connection


def _size(made: object) -> int:
    return made.nbytes if isinstance(made, pa.Table) else len(pickle.dumps(made))


def _create_view(cursor: duckdb.DuckDBPyConnection, view: str, table: str, paths: Sequence[Path]) -> None:
    """One temporary view: its columns are those of today's schema, also where parts are older."""
    empty = pa.schema([*TABLES[table], *KEYS]).empty_table()
    if not paths:
        cursor.register(view, empty)
        return
    cursor.register(f"empty_{view}", empty)
    parts = parts_sql(sorted(paths), is_mixed=True)
    cursor.execute(f"create temporary view {view} as (from empty_{view}) union all by name (from {parts})")


@functools.cache
def _sql(name: str) -> str:
    return (SQL_DIR / "pages" / f"{name}.sql").read_text(encoding="utf-8")


def _range_of(path: Path) -> _Range:
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except FileNotFoundError as error:
        raise Vanished("The tables changed while they were read, or a part of them is missing.") from error
    except pa.ArrowInvalid as error:
        raise Unreadable("A part of the tables is damaged.") from error
    column = metadata.schema.names.index(RANGE_COLUMN)
    found = [metadata.row_group(group).column(column).statistics for group in range(metadata.num_row_groups)]
    if not found:
        return _Range("", "")
    if any(one is None or not one.has_min_max for one in found):
        return _Range(None, None)
    return _Range(min(one.min for one in found), max(one.max for one in found))
