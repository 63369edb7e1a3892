"""Reading with SQL: exactly one SELECT-like statement, nothing written, no file outside the store's tables."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.catalogue import connect
from selfexplore_tasks.store.home import Store

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = re.compile(r"\s*(describe|summarize|show)\b", re.IGNORECASE)


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
