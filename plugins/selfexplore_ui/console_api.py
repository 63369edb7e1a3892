"""The SQL console: one reading statement at a time, in a process of its own (`selfexplore_tasks.console`)."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from selfexplore_tasks.console.errors import ConsoleBusy, QueryRefused
from selfexplore_tasks.console.history import HistoryEntry, append_history, read_history
from selfexplore_tasks.console.limits import QUERY_CHARACTERS
from selfexplore_tasks.console.run import download, run_query_json, warm
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.pages.model import QueryError, QueryResult, ReadyQuery, ViewDoc
from selfexplore_tasks.store.documentation import ready_queries, view_docs
from selfexplore_ui import sources
from selfexplore_ui.security import UserName, same_site
from selfexplore_ui.sent_file import SentFile
from selfexplore_ui.turns import DOWNLOADS, QUERIES
from selfexplore_ui.workers import CONSOLE, PAGES

router = APIRouter(tags=["sql"])

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
REFUSALS: dict[int | str, dict[str, Any]] = {400: {"model": QueryError}, 503: {"model": QueryError}}
ROW_COUNT = re.compile(rb'"row_count": ?(\d+)')
TAIL = 200
"""Bytes at the end of an answer in which its number of rows stands: it is not read as a whole."""


class Query(BaseModel):
    """A statement, and the experiments whose rows it sees (null: all)."""

    query: str = Field(max_length=QUERY_CHARACTERS)
    experiments: list[str] | None = Field(None, max_length=200)


class Download(Query):
    """A statement whose answer becomes a file."""

    format: Literal["csv", "parquet"]


@router.get("/sql/schema")
@PAGES.json
def schema() -> list[ViewDoc]:
    """Tables and views with every column: what the console asks for first, so that its first query need not wait."""
    warm()
    return _documentation()


@router.get("/sql/queries")
@PAGES.json
def queries() -> list[ReadyQuery]:
    """Ready queries, each with the question it answers."""
    return ready_queries()


@router.get("/sql/history")
@PAGES.json
def history(who: UserName) -> list[HistoryEntry]:
    """What the user asked lately, the newest first."""
    return read_history(sources.reader().store, who)


@router.post("/sql", dependencies=[same_site], response_model=QueryResult, responses=REFUSALS)
async def run(query: Query, who: UserName) -> Response:
    """Run one SELECT, DESCRIBE, SUMMARIZE or EXPLAIN."""
    try:
        async with QUERIES.of(who):
            return await _answer(query, who)
    except QueryRefused as refused:
        return _refusal(refused)


@CONSOLE.file
def _answer(query: Query, who: str) -> Response:
    with _on_record(who, query.query) as rows:
        answer = run_query_json(sources.reader().store, query.experiments, query.query)
        found = ROW_COUNT.search(answer[-TAIL:])
        rows.append(int(found[1]) if found else 0)
    return Response(answer, media_type="application/json")


@router.post("/sql/download", dependencies=[same_site], status_code=200, response_class=SentFile, responses=REFUSALS)
async def run_to_file(query: Download, who: UserName) -> Response:
    """Run a statement and send its answer as a file; `X-Selfexplore-Cut` is the number of rows it was cut to."""
    try:
        async with QUERIES.of(who):
            with DOWNLOADS.unless_sent(who):
                return await _file(query, who)
    except QueryRefused as refused:
        return _refusal(refused)


@CONSOLE.file
def _file(query: Download, who: str) -> Response:
    with tempfile.TemporaryDirectory(prefix="selfexplore-") as folder:
        target = Path(folder) / f"answer.{query.format}"
        with _on_record(who, query.query) as rows:
            written = download(sources.reader().store, query.experiments, query.query, query.format, target)
            rows.append(written.row_count)
        headers = {
            "Content-Type": MEDIA_TYPES[query.format],
            "Content-Disposition": f'attachment; filename="{target.name}"',
        }
        if written.is_cut:
            headers["X-Selfexplore-Cut"] = str(written.row_count)
        return SentFile(target, headers, lambda: DOWNLOADS.end(who))


@cache
def _documentation() -> list[ViewDoc]:
    """The same for the life of the process, and a tenth of a second to make."""
    return view_docs()


@contextmanager
def _on_record(who: str, sql: str) -> Iterator[list[int]]:
    """Keep a query in its user's history; the number of its rows is put into the list."""
    begun, rows, error = time.monotonic(), list[int](), None
    try:
        yield rows
    except Exception as failed:
        error = str(failed) if isinstance(failed, UserError) else "This failed; the api-server's log says why."
        raise
    finally:
        append_history(
            sources.reader().store,
            who,
            sql,
            rows=rows[0] if rows else None,
            seconds=time.monotonic() - begun,
            error=error,
        )


def _refusal(refused: QueryRefused) -> Response:
    status = 503 if isinstance(refused, ConsoleBusy) else 400
    return Response(refused.record().model_dump_json(), status, media_type="application/json")
