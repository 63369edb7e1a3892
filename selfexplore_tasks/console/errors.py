"""What went wrong with a query: one sentence and, where DuckDB names it, the place."""

from __future__ import annotations

import json
import re
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.pages.model import QueryError

ABSOLUTE_PATH = re.compile(r"(?<![\w.)/])/(?:[\w.=~+@-]+/)+[\w.=~+@*-]*")


class QueryRefused(UserError):
    """The query may not run, failed, or asked for too much; ``position`` is a 0-based character of it."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.message, self.position = message, position

    def record(self) -> QueryError:
        return QueryError(message=self.message, position=self.position)


class ConsoleBusy(QueryRefused):
    """The query may run, but not now."""


class TablesChanged(QueryRefused):
    """What the query was to read went away; a second try sees what is there now."""

    def __init__(self) -> None:
        super().__init__(
            "A part of the tables is gone or cannot be read, perhaps because an experiment was deleted just now: "
            "run the query again."
        )


def refusal_of(error: Exception, query: str) -> QueryRefused:
    """What a person is told of DuckDB's error (with setting ``errors_as_json``); no path of the server is in it."""
    kind, _, rest = str(error).partition(": ")
    if kind == "IO Error":
        return TablesChanged()
    try:
        details = json.loads(rest)
    except ValueError:
        return QueryRefused(without_paths(str(error).split("\n\nLINE ")[0]))
    message = f"{kind}: {details['exception_message'].strip()}"
    return QueryRefused(without_paths(message), character_of(query, details.get("position")))


def pointed(refused: QueryRefused, query: str) -> str:
    """The message, then the line of the query with a caret under the place."""
    if refused.position is None:
        return refused.message
    start = query.rfind("\n", 0, refused.position) + 1
    line = query[start:].split("\n", 1)[0].replace("\t", " ")
    return f"{refused.message}\n  {line}\n  {' ' * (refused.position - start)}^"


def character_of(query: str, byte: str | None) -> int | None:
    """DuckDB counts bytes, people and browsers characters."""
    if byte is None:
        return None
    before = query.encode()[: int(byte)].decode(errors="ignore")
    return len(before) if len(before) <= len(query) else None


def without_paths(text: str) -> str:
    """A text in which every absolute path is only said to be one."""
    return ABSOLUTE_PATH.sub("(a file)", text.replace(str(Path.home()), "(a file)"))
