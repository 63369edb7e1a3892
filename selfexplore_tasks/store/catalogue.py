"""DuckDB over the store: one view per table, then every view in ``sql/``.

A connection is in memory and sees exactly the parts that manifests name (plus ``pending`` ones of the stage that
is about to commit). Files of ``sql/{staging,intermediate,marts}`` hold one SELECT each and become a view of the
file's name, in that order and alphabetically within a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from selfexplore_tasks.errors import CheckFailed, UserError
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifests
from selfexplore_tasks.store.schemas import EXPERIMENT_SCHEMA, KEYS, SCHEMA_VERSION, STAGE_SCHEMA, TABLES

if TYPE_CHECKING:
    import duckdb

SQL_DIR = Path(__file__).parents[2] / "sql"
LAYERS = ("staging", "intermediate", "marts")
SHOWN_OFFENDERS = 5


@dataclass(frozen=True)
class Contents:
    """What a connection shows: the parts of every table, and the rows of `experiments` and `stages`.

    ``mixed`` names the tables that may have parts of an older schema version.
    """

    parts: Mapping[str, Sequence[Path]]
    experiments: pa.Table
    stages: pa.Table
    mixed: frozenset[str] = frozenset()


def connect(
    store: Store, slugs: Sequence[str], pending: Mapping[str, Sequence[Path]] | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a connection over the named experiments. ``pending`` adds parts no manifest names yet, by table."""
    return connect_to(read_contents(store, slugs, pending))


def read_contents(store: Store, slugs: Sequence[str], pending: Mapping[str, Sequence[Path]] | None = None) -> Contents:
    """Look up what the named experiments have, and ``pending`` on top."""
    parts = {table: dict.fromkeys((pending or {}).get(table, ())) for table in TABLES}
    stages, mixed = [], set(pending or ())
    for slug in slugs:
        for manifest in read_manifests(store, slug):
            if manifest.schema_version < SCHEMA_VERSION:
                mixed |= manifest.parts.keys()
            for table, names in manifest.parts.items():
                folder = store.table_dir(table, slug, manifest.round)
                parts[table] |= dict.fromkeys(folder / name for name in names)
            stages.append({name: getattr(manifest, name) for name in STAGE_SCHEMA.names if name != "notes"})
            stages[-1]["row_counts"] = list(manifest.row_counts.items())
            stages[-1]["notes"] = json.dumps(manifest.notes)
    return Contents(
        {table: sorted(files) for table, files in parts.items()},
        pa.Table.from_pylist(_experiments(store, slugs), EXPERIMENT_SCHEMA),
        pa.Table.from_pylist(stages, STAGE_SCHEMA),
        frozenset(mixed),
    )


def connect_to(contents: Contents) -> duckdb.DuckDBPyConnection:
    """Open a connection in memory with every table and view over the contents."""
    import duckdb

    if not SQL_DIR.is_dir():
        raise UserError(f"{SQL_DIR} is missing: run from a clone (make install, or pip install --editable).")
    connection = duckdb.connect(":memory:")
    connection.execute("create schema layout")
    _register(connection, "experiments", contents.experiments)
    _register(connection, "stages", contents.stages)
    for table in TABLES:
        _register(connection, f"layout.{table}", pa.schema([*TABLES[table], *KEYS]).empty_table())
        connection.execute(f"create view {table} as from layout.{table}")
    for path in view_files():
        connection.execute(f"create view {path.stem} as {path.read_text(encoding='utf-8')}")
    # Only now: a view that is created opens every part it reads, and most views stand on others.
    for table in TABLES:
        if contents.parts[table]:
            _put_parts(connection, table, contents.parts[table], is_mixed=table in contents.mixed)
    return connection


def view_files() -> list[Path]:
    """The files that become views, in the order in which they may be created."""
    return [path for layer in LAYERS for path in sorted((SQL_DIR / layer).glob("*.sql"))]


def run_checks(connection: duckdb.DuckDBPyConnection, stage: str, *, slug: str, round_number: int) -> None:
    """Run ``sql/checks/<stage>/*.sql``; raises CheckFailed naming the check and the first offending rows."""
    connection.execute("set variable experiment = ?", [slug])
    connection.execute("set variable round = ?", [round_number])
    # What the explorer draws obeys the same rules as what the generator draws.
    folder = SQL_DIR / "checks" / stage.removesuffix("_explorer")
    for path in sorted(folder.glob("*.sql")):
        cursor = connection.execute(path.read_text(encoding="utf-8"))
        columns = [column[0] for column in cursor.description or ()]
        rows = cursor.fetchmany(SHOWN_OFFENDERS + 1)
        if rows:
            shown = "; ".join(str(dict(zip(columns, row, strict=True)))[:300] for row in rows[:SHOWN_OFFENDERS])
            more = " and more" if len(rows) > SHOWN_OFFENDERS else ""
            raise CheckFailed(f"Check {stage}/{path.stem} of {slug!r}, round {round_number}, found: {shown}{more}")


def _put_parts(connection: duckdb.DuckDBPyConnection, table: str, files: Sequence[Path], *, is_mixed: bool) -> None:
    # The empty table brings the columns that parts of an older schema version lack.
    parts = f"(from layout.{table}) union all by name (from {parts_sql(files, is_mixed=is_mixed)})"
    connection.execute(f"create or replace view {table} as {parts}")


def parts_sql(files: Sequence[Path], *, is_mixed: bool) -> str:
    """The SQL that reads parts of a table with the keys of their paths; ``is_mixed``: some may have an older schema."""
    listed = ", ".join(quoted(str(path)) for path in files)
    types = "{'experiment': varchar, 'round': integer}"
    # By name DuckDB opens every part before it reads the first; of thousands that takes longer than most queries.
    by_name = "true" if is_mixed else "false"
    return f"read_parquet([{listed}], union_by_name = {by_name}, hive_partitioning = true, hive_types = {types})"


def quoted(text: str) -> str:
    """A text as a literal of SQL, for the statements that take no parameter."""
    return "'" + text.replace("'", "''") + "'"


def _register(connection: duckdb.DuckDBPyConnection, name: str, content: pa.Table) -> None:
    """Keep a small Arrow table as a DuckDB table (a registered view would need external access later)."""
    connection.register("_content", content)
    connection.execute(f"create table {name} as from _content")
    connection.unregister("_content")


def _experiments(store: Store, slugs: Sequence[str]) -> list[dict[str, str]]:
    rows = []
    for slug in slugs:
        content = json.loads(store.experiment_file(slug).read_text(encoding="utf-8"))
        rows.append(
            {
                "experiment": slug,
                "recipe_hash": content["recipe_hash"],
                "created_at": content["created_at"],
                "recipe": json.dumps(content["recipe"]),
            }
        )
    return rows
