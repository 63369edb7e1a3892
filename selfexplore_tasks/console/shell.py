"""The interactive shell of `selfexplore sql`: completion, history, tables cut to the screen, errors with a caret."""

from __future__ import annotations

import atexit
import os
import readline
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.console.errors import QueryRefused, pointed
from selfexplore_tasks.console.sandbox import answering, interruptible
from selfexplore_tasks.console.texts import queries_text, schema_text, screen_table, tables_text
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.pages.model import ViewDoc
from selfexplore_tasks.store.documentation import ready_queries, view_docs
from selfexplore_tasks.store.home import Store

if TYPE_CHECKING:
    import duckdb

PROMPT, CONTINUED = "sql> ", "...> "
SHOWN_ROWS = 40
NAMED = 5
KEPT_LINES = 1_000
HISTORY = "~/.selfexplore_history"
KEYWORDS = """\
select from where group by order having limit offset with as join left inner on using union all distinct case when then
else end and or not in is null between like ilike asc desc describe summarize show tables explain unnest count sum avg
min max median quantile_cont round filter over partition qualify exclude coalesce cast"""
HELP = """\
A statement ends with ; or an empty line. Tab completes, the arrow keys bring back earlier lines.
.tables          tables and views, with what a row of each is
.schema VIEW     its columns, with what each means
.queries         ready queries; .run NAME runs one
.quit            leave (or Ctrl-D)"""


class Shell:
    """Reads statements and shows their rows until the user leaves."""

    def __init__(self, store: Store, slugs: Sequence[str]) -> None:
        self._store, self._slugs = store, slugs
        self._words = sorted(_words(view_docs()))
        self._commands: dict[str, Callable[[str], None]] = {
            ".help": lambda _: print(HELP),
            ".tables": lambda _: print(tables_text()),
            ".schema": lambda name: print(schema_text(_view(name))),
            ".queries": lambda _: print(queries_text()),
            ".run": lambda name: self.show(_ready(name)),
        }

    def run(self) -> None:
        """Read and answer until Ctrl-D or `.quit`."""
        self._prepare_terminal()
        named = ", ".join(self._slugs[:NAMED]) or "none yet"
        more = f" and {len(self._slugs) - NAMED} more" if len(self._slugs) > NAMED else ""
        print(f"Experiments: {named}{more}. Ask in SQL; .help helps, .quit leaves.")
        while (text := self._read()) is not None:
            try:
                self._answer(text)
            except UserError as error:
                print(f"error: {error}")
            except KeyboardInterrupt:
                print("interrupted")

    def complete(self, text: str, state: int) -> str | None:
        """What readline asks for: the ``state``-th word that begins like ``text``."""
        found = [word for word in (*self._commands, ".quit", *self._words) if word.startswith(text.lower())]
        return found[state] if text and state < len(found) else None

    def show(self, query: str) -> None:
        """Print the rows of a query; raises UserError with a caret where it is wrong."""
        try:
            with answering(self._store, self._slugs, query) as (connection, statement):
                names, rows = interruptible(connection, lambda: _first_rows(connection, statement))
        except QueryRefused as refused:
            raise UserError(pointed(refused, query)) from refused
        print(screen_table(names, rows[:SHOWN_ROWS], shutil.get_terminal_size().columns))
        more = ", and more: add a LIMIT, or write all to a file with `selfexplore sql '…' --csv`"
        print(f"{min(len(rows), SHOWN_ROWS)} rows{more if len(rows) > SHOWN_ROWS else ''}")

    def _answer(self, text: str) -> None:
        if not text.startswith("."):
            self.show(text)
            return
        name, _, rest = text.partition(" ")
        if name not in self._commands:
            raise UserError(f"There is no command {name}: .help lists them.")
        self._commands[name](rest.strip())

    def _read(self) -> str | None:
        """One statement or dot command; None at the end."""
        lines: list[str] = []
        while True:
            try:
                line = input(CONTINUED if lines else PROMPT)
            except EOFError:
                print()
                return None
            except KeyboardInterrupt:
                print()
                lines = []
                continue
            if not lines and line.strip() in (".quit", ".exit"):
                return None
            if not lines and line.startswith("."):
                return line.strip()
            if line.strip():
                lines.append(line)
            if lines and (not line.strip() or line.rstrip().endswith(";")):
                return "\n".join(lines)

    def _prepare_terminal(self) -> None:
        readline.set_completer(self.complete)
        readline.set_completer_delims(" \t\n,()=<>+*/;")
        readline.parse_and_bind("tab: complete")
        readline.set_history_length(KEPT_LINES)
        path = Path(os.environ.get("SELFEXPLORE_HISTORY", HISTORY)).expanduser()
        with suppress(OSError):
            readline.read_history_file(path)
        atexit.register(_write_history, path)


def _write_history(path: Path) -> None:
    with suppress(OSError):
        readline.write_history_file(path)


def _first_rows(connection: duckdb.DuckDBPyConnection, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    cursor = connection.execute(statement)
    return [name for name, *_ in cursor.description or ()], cursor.fetchmany(SHOWN_ROWS + 1)


def _view(name: str) -> ViewDoc:
    for view in view_docs():
        if view.name == name:
            return view
    raise UserError(f"There is no table or view {name!r}: .tables lists them.")


def _ready(name: str) -> str:
    for query in ready_queries():
        if query.name == name:
            return query.sql
    raise UserError(f"There is no ready query {name!r}: .queries lists them.")


def _words(views: Sequence[ViewDoc]) -> set[str]:
    names = {name for view in views for name in (view.name, *(column.name for column in view.columns))}
    return {*KEYWORDS.split(), *names, *(query.name for query in ready_queries())}
