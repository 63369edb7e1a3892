"""Every table and view with a sentence for each column: one source for the console, the command and the README.

Tables are documented in `schemas`. A file of ``sql/{staging,marts}`` begins with its grain, followed by one line
``-- column: doc`` for each column (continued on lines indented further); columns `experiment` and `round` mean the same
everywhere. Views of ``sql/intermediate`` are internal: they have their grain only, and may change.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from selfexplore_tasks.pages.model import Column, ReadyQuery, ViewDoc
from selfexplore_tasks.store.catalogue import SQL_DIR, Contents, connect_to, view_files
from selfexplore_tasks.store.schemas import EXPERIMENT_SCHEMA, KEYS, STAGE_SCHEMA, TABLE_DOCS, TABLES

COLUMN_DOC = re.compile(r"-- ([a-z_][a-z0-9_]*): (.+)")
CONTINUED = re.compile(r"--   +(\S.*)")
KEY_DOCS = {field.name: field.metadata[b"doc"].decode() for field in KEYS}


@cache
def view_docs() -> list[ViewDoc]:
    """Tables first, then the views for people, then the internal ones; each in its order of columns."""
    kinds = _column_types()
    tables = [
        _doc(name, "table", TABLE_DOCS[name], _table_columns(name), kinds[name])
        for name in ("experiments", "stages", *TABLES)
    ]
    views = [_doc(path.stem, "view", *read_docs(path), kinds[path.stem]) for path in view_files()]
    internal = [view.model_copy(update={"is_internal": True}) for view in views if view.name.startswith("int_")]
    return [*tables, *(view for view in views if not view.name.startswith("int_")), *internal]


@cache
def ready_queries() -> list[ReadyQuery]:
    """The queries of ``sql/queries``, by name; the first line of each is its question."""
    found = []
    for path in sorted((SQL_DIR / "queries").glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        found.append(ReadyQuery(name=path.stem, question=text.splitlines()[0].removeprefix("-- "), sql=text))
    return found


def read_docs(path: Path) -> tuple[str, dict[str, str]]:
    """What the comment on top of a view's file says: its grain, and a sentence by column."""
    grain: list[str] = []
    columns = {}
    name = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("--"):
            break
        if found := COLUMN_DOC.fullmatch(line):
            name = found[1]
            columns[name] = found[2]
        elif name is not None and (more := CONTINUED.fullmatch(line)):
            columns[name] += f" {more[1]}"
        else:
            grain.append(line.removeprefix("--").strip())
    return " ".join(grain).removeprefix("Grain: ").rstrip("."), columns


def schema_markdown() -> str:
    """Tables and views for people, with their columns, as the README shows them."""
    lines = ["| table or view | one row per | columns |", "|---|---|---|"]
    for view in view_docs():
        if not view.is_internal:
            grain = view.doc.split(". ")[0]
            columns = ", ".join(f"`{column.name}`" for column in view.columns)
            lines.append(f"| `{view.name}` | {grain.removeprefix('one row per ')} | {columns} |")
    return "\n".join(lines)


def _doc(name: str, kind: str, doc: str, columns: dict[str, str], types: dict[str, str]) -> ViewDoc:
    docs = {**KEY_DOCS, **columns}
    described = [Column(name=key, type=type_name, doc=docs.get(key, "")) for key, type_name in types.items()]
    return ViewDoc.model_validate({"name": name, "kind": kind, "doc": doc, "columns": described})


def _table_columns(name: str) -> dict[str, str]:
    schema = {"experiments": EXPERIMENT_SCHEMA, "stages": STAGE_SCHEMA, **TABLES}[name]
    return {field.name: field.metadata[b"doc"].decode() for field in schema}


def _column_types() -> dict[str, dict[str, str]]:
    """DuckDB's type of every column of every relation; they do not depend on what is stored."""
    nothing = Contents({name: () for name in TABLES}, EXPERIMENT_SCHEMA.empty_table(), STAGE_SCHEMA.empty_table())
    connection = connect_to(nothing)
    found: dict[str, dict[str, str]] = {}
    try:
        listed = "select table_name, column_name, data_type from duckdb_columns() where schema_name = 'main'"
        for table, column, kind in connection.execute(f"{listed} order by table_name, column_index").fetchall():
            found.setdefault(table, {})[column] = kind
    finally:
        connection.close()
    return found
