"""``selfexplore.duckdb``: the views as a file that a plain `duckdb`, DBeaver or a notebook opens read-only.

It holds views only, no rows, and they look at the store when they are asked: finished stages, new experiments and
deleted ones show at once. It has to be made again only when the views themselves change or the store moves. It is
written beside the old one and renamed over it, because whoever has a DuckDB file open, even read-only, keeps writers
out.

A pattern that matches no file is an error in DuckDB; an empty part of every table in the folder ``catalogue`` is there
to be matched, and brings the columns that parts of an older schema version lack.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.catalogue import SQL_DIR, quoted, view_files
from selfexplore_tasks.store.documentation import view_docs
from selfexplore_tasks.store.files import write_atomically
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.schemas import TABLES

EMPTY_PART = Path("experiment=-", "round=000", "part-empty-00000.parquet")  # no experiment can be named so
EMPTY_FOLDER = "catalogue"
OLDEST_READER = "v1.2.0"
PATTERN_SIGNS = frozenset("*?[]{}")


def refresh_catalogue(store: Store) -> Path:
    """Write the catalogue file; returns its path. Raises UserError where the store's path cannot be in a pattern."""
    if PATTERN_SIGNS & set(str(store.root)):
        raise UserError(
            f"No catalogue file for {store.root}: DuckDB would read {' '.join(sorted(PATTERN_SIGNS))} as a pattern."
        )
    for table, schema in TABLES.items():
        path = store.root / EMPTY_FOLDER / table / EMPTY_PART
        if not path.exists() or not pq.read_schema(path).equals(schema):
            write_atomically(path, partial(pq.write_table, schema.empty_table()))
    write_atomically(store.catalogue_file, lambda target: _write(store, target))
    return store.catalogue_file


def _write(store: Store, target: Path) -> None:
    import duckdb

    target.unlink(missing_ok=True)
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"attach {quoted(str(target))} as made (storage_version '{OLDEST_READER}')")
        connection.execute("use made")
        connection.execute("create schema layout")
        connection.execute(f"create view layout.parts as {_text(store, 'parts')}")
        for name in ("experiments", "stages"):
            connection.execute(f"create view {name} as {_text(store, name)}")
        # A view that is created opens every file it reads: first over the empty parts alone, at last over all.
        for table in TABLES:
            connection.execute(f"create view {table} as {_text(store, 'any_table', table, EMPTY_FOLDER)}")
        for path in view_files():
            connection.execute(f"create view {path.stem} as {path.read_text(encoding='utf-8')}")
        for table in TABLES:
            connection.execute(f"create or replace view {table} as {_text(store, 'any_table', table)}")
        for view in view_docs():
            connection.execute(f"comment on view {view.name} is {quoted(view.doc)}")
            for column in view.columns:
                connection.execute(f'comment on column {view.name}."{column.name}" is {quoted(column.doc)}')
        connection.execute("use memory")
        connection.execute("detach made")


def _text(store: Store, name: str, table: str = "", folder: str = "*") -> str:
    text = (SQL_DIR / "catalogue" / f"{name}.sql").read_text(encoding="utf-8")
    root = str(store.root).replace("'", "''")
    return text.replace("$TABLE", table).replace("$FOLDER", folder).replace("$SELFEXPLORE_HOME", root)
