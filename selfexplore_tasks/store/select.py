"""One SELECT-like statement of a command: sandboxed as the console's, in this process, with all its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfexplore_tasks.store.home import Store

if TYPE_CHECKING:
    import pyarrow as pa


def select(store: Store, slugs: Sequence[str], sql: str) -> pa.Table:
    """Return the rows of one SELECT, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN over the experiments' views.

    Raises:
        QueryRefused (a UserError): not exactly one such statement, or DuckDB refuses it.
    """
    from selfexplore_tasks.console.sandbox import answering, interruptible, relation

    with answering(store, slugs, sql) as (connection, statement):
        return interruptible(connection, lambda: relation(connection, statement).to_arrow_table())
