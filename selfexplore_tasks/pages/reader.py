"""Reading the store for pages: one DuckDB for the life of a process, and of every experiment what its manifests say.

A page reads only the parts it needs: the tables, rounds and, for a single problem, the parts whose range of problem ids
holds it. What a stage has committed never changes under the same manifest, so small results are kept until a manifest
of their round does. Model texts are read when a problem is opened, and never kept.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Recipe
from selfexplore_tasks.store.catalogue import SQL_DIR, parts_sql
from selfexplore_tasks.store.home import Store, check_slug
from selfexplore_tasks.store.manifests import Manifest, read_manifests
from selfexplore_tasks.store.schemas import KEYS, TABLES

if TYPE_CHECKING:
    import duckdb

Made = TypeVar("Made")
Fingerprint = tuple[tuple[str, int, int], ...]
"""Path, modification time (ns) and size of files."""
Parts = Mapping[str, Sequence[Path]]
"""Paths of parts by the name of the view they become."""

MEMORY_LIMIT = "384MiB"
THREADS = 2
KEPT_RESULTS, KEPT_BYTES = 256, 96 * 2**20
RANGE_COLUMN = "problem_id"


class NotFound(UserError):
    """There is no such experiment, round or problem."""


@dataclass(frozen=True)
class Snapshot:
    """An experiment as its files say at one moment."""

    store: Store
    slug: str
    created_at: str
    recipe_hash: str
    recipe_content: dict[str, Any]
    forked_from: str | None
    manifests: tuple[Manifest, ...]
    fingerprint: Fingerprint

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe.model_validate(self.recipe_content)

    @property
    def rounds(self) -> list[int]:
        """Rounds of which at least one stage is done."""
        return sorted({manifest.round for manifest in self.manifests})

    @property
    def finished_rounds(self) -> list[int]:
        return [manifest.round for manifest in self.manifests if manifest.stage == "summarize"]

    def manifest(self, round_number: int, stage: str) -> Manifest | None:
        found = [one for one in self.manifests if (one.round, one.stage) == (round_number, stage)]
        return found[0] if found else None

    def candidate(self, round_number: int) -> str | None:
        """The model that a round proposes; None while it is not trained."""
        made = self.manifest(round_number, "dpo" if round_number else "sft")
        return str(made.notes["model_id"]) if made else None

    def parts(self, table: str, rounds: Iterable[int] | None = None) -> list[Path]:
        """Paths of a table's parts, of all rounds or these."""
        wanted = None if rounds is None else set(rounds)
        return [
            self.store.table_dir(table, self.slug, manifest.round) / name
            for manifest in self.manifests
            if wanted is None or manifest.round in wanted
            for name in manifest.parts.get(table, ())
        ]

    def key(self, rounds: Iterable[int] | None = None) -> tuple[str, Fingerprint]:
        """Changes whenever a manifest of these rounds does."""
        if rounds is None:
            return self.slug, self.fingerprint
        folders = tuple(f"round={number:03d}/" for number in rounds)
        return self.slug, tuple(entry for entry in self.fingerprint if entry[0].startswith(folders))


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
    _results: OrderedDict[object, Any] = field(default_factory=OrderedDict, repr=False)
    _ranges: dict[tuple[Path, str], _Range] = field(default_factory=dict, repr=False)
    _making: dict[object, threading.Lock] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def slugs(self) -> list[str]:
        """Names of all experiments."""
        return sorted(path.stem for path in (self.store.root / "experiments").glob("*.json"))

    def snapshot(self, slug: str) -> Snapshot:
        """The experiment as it is now; raises NotFound."""
        try:
            path = self.store.experiment_file(check_slug(slug))
        except UserError as error:
            raise NotFound(str(error)) from error
        if not path.exists():
            raise NotFound(f"There is no experiment {slug!r}.")
        now = _fingerprint(self.store, slug, path)
        known = self._snapshots.get(slug)
        if known is None or known.fingerprint != now:
            known = self._snapshots[slug] = _read_snapshot(self.store, slug, path, now)
        return known

    def remember(self, key: tuple[object, ...], make: Callable[[], Made]) -> Made:
        """Return what ``make`` made under this key before, or make it; threads that ask for the same wait for one."""
        with self._lock:
            lock = self._making.setdefault(key, threading.Lock())
        with lock:
            with self._lock:
                if key in self._results:
                    self._results.move_to_end(key)
                    kept: Made = self._results[key]
                    return kept
            try:
                made = make()
            finally:
                with self._lock:
                    self._making.pop(key, None)
            with self._lock:
                self._results[key] = made
                while len(self._results) > KEPT_RESULTS or self._kept_bytes() > KEPT_BYTES:
                    self._results.popitem(last=False)
            return made

    def _kept_bytes(self) -> int:
        """Bytes of the tables that are kept; what else is kept is small."""
        return sum(result.nbytes for result in self._results.values() if isinstance(result, pa.Table))

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
        """
        cursor = self._duckdb.cursor()
        try:
            for label, paths in (parts or {}).items():
                view, _, table = label.partition(":")
                _create_view(cursor, view, table or view, paths)
            for view, content in (tables or {}).items():
                cursor.register(view, content)
            for key, value in variables.items():
                cursor.execute(f"set variable {key} = ?", [value])
            return cursor.sql(_sql(name)).to_arrow_table()
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

    @cached_property
    def _duckdb(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        settings = {"memory_limit": MEMORY_LIMIT, "threads": THREADS, "temp_directory": ""}
        connection = duckdb.connect(":memory:", config=settings)
        connection.execute("load parquet")  # or it does not know the next setting yet
        connection.execute("set parquet_metadata_cache = true")
        return connection


def _create_view(cursor: duckdb.DuckDBPyConnection, view: str, table: str, paths: Sequence[Path]) -> None:
    """One temporary view: its columns are those of today's schema, also where parts are older."""
    empty = pa.schema([*TABLES[table], *KEYS]).empty_table()
    if not paths:
        cursor.register(view, empty)
        return
    cursor.register(f"empty_{view}", empty)
    parts = parts_sql(sorted(paths), is_mixed=True)
    cursor.execute(f"create temporary view {view} as (from empty_{view}) union all by name (from {parts})")


@cache
def _sql(name: str) -> str:
    return (SQL_DIR / "pages" / f"{name}.sql").read_text(encoding="utf-8")


def _fingerprint(store: Store, slug: str, experiment_file: Path) -> Fingerprint:
    folder = store.root / "manifests" / slug
    entries = [_entry(path, f"{path.parent.name}/{path.name}") for path in folder.glob("round=*/*.json")]
    return tuple(sorted([_entry(experiment_file, "experiment"), *entries]))


def _entry(path: Path, name: str) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return name, 0, 0
    return name, status.st_mtime_ns, status.st_size


def _read_snapshot(store: Store, slug: str, path: Path, fingerprint: Fingerprint) -> Snapshot:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        manifests = tuple(read_manifests(store, slug))
    except FileNotFoundError as error:
        raise NotFound(f"Experiment {slug!r} is being changed or deleted: ask again.") from error
    origin = content.get("forked_from")
    return Snapshot(
        store=store,
        slug=slug,
        created_at=content["created_at"],
        recipe_hash=content["recipe_hash"],
        recipe_content=content["recipe"],
        forked_from=f"{origin['experiment']}:{origin['round']}" if origin else None,
        manifests=manifests,
        fingerprint=fingerprint,
    )


def _range_of(path: Path) -> _Range:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    column = metadata.schema.names.index(RANGE_COLUMN)
    found = [metadata.row_group(group).column(column).statistics for group in range(metadata.num_row_groups)]
    if not found:
        return _Range("", "")
    if any(one is None or not one.has_min_max for one in found):
        return _Range(None, None)
    return _Range(min(one.min for one in found), max(one.max for one in found))
