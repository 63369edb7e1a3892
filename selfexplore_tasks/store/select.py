"""Reading with SQL: exactly one SELECT-like statement, nothing written, no file outside the store's tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.catalogue import connect
from selfexplore_tasks.store.home import Store

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = re.compile(r"\s*(describe|summarize|show)\b", re.IGNORECASE)
# DuckDB takes INSERT, DELETE and COPY to a file as a common table expression, and has table functions that execute
# SQL, read memory or files: what may be in a query is listed, all else is refused.
READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
TABLE_FUNCTIONS = frozenset(
    {
        *("unnest", "range", "generate_series", "repeat", "repeat_row", "json_each", "json_tree"),
        *("histogram", "histogram_values", "summary", "duckdb_columns", "duckdb_tables", "duckdb_views"),
    }
)


def select(store: Store, slugs: Sequence[str], sql: str) -> pa.Table:
    """Return the rows of one SELECT, DESCRIBE, SUMMARIZE or SHOW over the experiments' views.

    Raises:
        UserError: not exactly one such statement, or DuckDB refuses it (the message says where).
    """
    import duckdb

    statement = sql.strip().rstrip(";")
    if SHOWN.match(statement):
        statement = f"from ({statement}\n)"  # the line break ends a comment
    connection = connect(store, slugs)
    try:
        tables = str(store.root / "tables").replace("'", "''")
        connection.execute(f"set allowed_directories = ['{tables}']")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        connection.execute("begin transaction read only")
        _check_one_select(connection, statement)
        return connection.sql(statement).to_arrow_table()
    except duckdb.Error as error:
        raise UserError(f"SQL: {error}") from error
    finally:
        connection.close()


def _check_one_select(connection: object, statement: str) -> None:
    """DuckDB serialises SELECT statements only, so COPY, DML, SET, ATTACH and the like stop here."""
    parsed = json.loads(connection.execute("select json_serialize_sql(?)", [statement]).fetchall()[0][0])  # type: ignore[attr-defined]
    if parsed["error"]:
        raise UserError(f"SQL: {parsed['error_message']}")
    if len(parsed["statements"]) != 1:
        raise UserError(f"SQL: one statement at a time, this is {len(parsed['statements'])}.")
    found = set(_parts_found(parsed["statements"])) - READING_NODES - TABLE_FUNCTIONS
    if found:
        raise UserError(f"SQL: only reading from the views is allowed, also inside of a query; found {min(found)}.")


def _parts_found(tree: Any) -> Iterator[str]:
    """Types of the query nodes and names of the table functions in a serialised statement, however deep."""
    open_parts = [tree]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, dict):
            kind = str(part.get("type"))
            if kind.endswith("_NODE"):
                yield kind
            elif kind == "TABLE_FUNCTION":
                yield str(part["function"].get("function_name")).lower()
            open_parts += part.values()
        elif isinstance(part, list):
            open_parts += part
