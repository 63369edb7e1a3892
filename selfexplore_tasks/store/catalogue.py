"""DuckDB over the store: one view per table, then every view in ``sql/``.

A connection is in memory and sees exactly the parts that manifests name (plus ``pending`` ones of the stage that
is about to commit). Files of ``sql/{staging,intermediate,marts}`` hold one SELECT each and become a view of the
file's name, in that order and alphabetically within a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from selfexplore_tasks.errors import CheckFailed, UserError
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifests
from selfexplore_tasks.store.schemas import TABLES

if TYPE_CHECKING:
    import duckdb

SQL_DIR = Path(__file__).parents[2] / "sql"
LAYERS = ("staging", "intermediate", "marts")
SHOWN_OFFENDERS = 5

EXPERIMENT_SCHEMA = pa.schema(
    [("experiment", pa.string()), ("recipe_hash", pa.string()), ("created_at", pa.string()), ("recipe", pa.string())]
)
STAGE_SCHEMA = pa.schema(
    [
        ("experiment", pa.string()),
        ("round", pa.int32()),
        ("stage", pa.string()),
        ("seconds", pa.float64()),
        ("token_count", pa.int64()),
        ("row_counts", pa.map_(pa.string(), pa.int64())),
        ("started_at", pa.string()),
        ("finished_at", pa.string()),
        ("seed", pa.int64()),
        ("recipe_hash", pa.string()),
        ("notes", pa.string()),
    ]
)


def connect(
    store: Store, slugs: Sequence[str], pending: Mapping[str, Sequence[Path]] | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a connection over the named experiments. ``pending`` adds parts no manifest names yet, by table."""
    import duckdb

    if not SQL_DIR.is_dir():
        raise UserError(f"{SQL_DIR} is missing: run from a clone (make install, or pip install --editable).")
    connection = duckdb.connect(":memory:")
    connection.execute("create schema layout")
    parts: dict[str, list[Path]] = {table: list((pending or {}).get(table, ())) for table in TABLES}
    stages = []
    for slug in slugs:
        for manifest in read_manifests(store, slug):
            for table, names in manifest.parts.items():
                folder = store.table_dir(table, slug, manifest.round)
                parts[table] += [folder / name for name in names if folder / name not in parts[table]]
            stages.append({name: getattr(manifest, name) for name in STAGE_SCHEMA.names if name != "notes"})
            stages[-1]["row_counts"] = list(manifest.row_counts.items())
            stages[-1]["notes"] = json.dumps(manifest.notes)
    for table in TABLES:
        _create_table_view(connection, table, parts[table])
    _register(connection, "experiments", pa.Table.from_pylist(_experiments(store, slugs), EXPERIMENT_SCHEMA))
    _register(connection, "stages", pa.Table.from_pylist(stages, STAGE_SCHEMA))
    for layer in LAYERS:
        for path in sorted((SQL_DIR / layer).glob("*.sql")):
            connection.execute(f"create view {path.stem} as {path.read_text(encoding='utf-8')}")
    return connection


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


def _create_table_view(connection: duckdb.DuckDBPyConnection, table: str, files: Sequence[Path]) -> None:
    keys = [pa.field("experiment", pa.string()), pa.field("round", pa.int32())]
    name = f"layout.{table}" if files else table
    _register(connection, name, pa.schema([*TABLES[table], *keys]).empty_table())
    if not files:
        return
    listed = ", ".join(f"'{str(path).replace(chr(39), chr(39) * 2)}'" for path in sorted(files))
    types = "{'experiment': varchar, 'round': integer}"
    parts = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = true, hive_types = {types})"
    # The empty table brings the columns that parts of an older schema version lack.
    connection.execute(f"create view {table} as (from {name}) union all by name (from {parts})")


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
