"""The interactive shell, in a real terminal; tables that fit it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tasks.console.conftest import Arena

from selfexplore_tasks.console.texts import schema_text, screen_table
from selfexplore_tasks.store.documentation import view_docs

PROMPTS = ("sql> ", "...> ")


def _take_terminal() -> None:
    """Let Ctrl-C reach this process, also where the tests run in the background and ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A pseudo terminal with the shell in it."""

    def __init__(self, store: Path, history: Path) -> None:
        self._ours, theirs = os.openpty()
        environment = {
            **os.environ,
            "SELFEXPLORE_HOME": str(store),
            "SELFEXPLORE_HISTORY": str(history),
            "COLUMNS": "80",
            "TERM": "dumb",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "selfexplore_tasks", "sql", "--experiment", "mine"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)
        self.greeting = self._read()

    def type(self, keys: str) -> str:
        """Press keys; returns what the screen shows until the next prompt or the end."""
        self.send(keys)
        return self._read()

    def send(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def _read(self) -> str:
        shown = ""
        while not shown.endswith(PROMPTS):
            if not select.select([self._ours], [], [], 60)[0]:
                raise AssertionError(f"no prompt after {shown!r}")
            try:
                shown += os.read(self._ours, 65_536).decode()
            except OSError:  # the other side is closed
                break
        return shown.replace("\r\n", "\n")


@pytest.fixture
def terminal(arena: Arena, tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(arena.store.root, tmp_path / "history")
    yield opened
    opened.process.kill()
    opened.process.wait()


def test_a_session(terminal: Terminal, tmp_path: Path) -> None:
    assert "Experiments: mine." in terminal.greeting
    assert ".schema VIEW" in terminal.type(".help\n")
    assert "accuracy_by_round" in terminal.type(".tables\n")
    assert "share answered correctly" in terminal.type(".schema accuracy_by_round\n")
    assert "Where did the time go" in terminal.type(".queries\n")
    assert terminal.type("select count(*) as n\n").endswith("...> ")
    assert "\nn\n-\n6\n1 rows\n" in terminal.type("from problems;\n")
    assert terminal.type("select count(*) from problems\n").endswith("...> ")
    assert "6\n1 rows" in terminal.type("\n")  # an empty line ends a query too
    assert "40 rows, and more" in terminal.type("from range(100);\n")
    assert "prepare" in terminal.type(".run costs\n")
    wrong = terminal.type("select nope from problems;\n").splitlines()
    assert wrong[-2].index("^") == wrong[-3].index("nope")
    assert "not on the list" in terminal.type("from read_text('/etc/passwd');\n")
    assert "There is no command .nope" in terminal.type(".nope\n")
    assert "There is no table or view 'nope'" in terminal.type(".schema nope\n")
    assert "There is no ready query 'nope'" in terminal.type(".run nope\n")
    terminal.type(".quit\n")
    assert terminal.process.wait(60) == 0
    assert "from problems;" in (tmp_path / "history").read_text(encoding="utf-8")


def test_tab_completes_words_views_and_columns(terminal: Terminal) -> None:
    assert "6\n1 rows" in terminal.type("sel\t count(*) from stg_pr\t;\n")
    assert "train" in terminal.type("select distinct spl\t from problems;\n")
    assert "rationale_count" in terminal.type(".sch\t first_pit_h\t\n")


def test_control_c_forgets_the_line_and_control_d_leaves(terminal: Terminal) -> None:
    assert terminal.type("select nope\n").endswith("...> ")
    assert terminal.type("\x03").endswith("sql> ")
    assert "1\n1 rows" in terminal.type("select 1 as one;\n")
    terminal.type("\x04")
    assert terminal.process.wait(60) == 0


def test_control_c_ends_a_query(terminal: Terminal) -> None:
    terminal.send("with recursive t as (select 1 as i union all select i + 1 from t) select count(*) from t;\n")
    process = psutil.Process(terminal.process.pid)
    idle = process.cpu_times().user
    while process.cpu_times().user < idle + 1:  # until DuckDB works
        time.sleep(0.05)
    assert "interrupted" in terminal.type("\x03")
    assert "1\n1 rows" in terminal.type("select 1 as one;\n")


def test_wide_cells_are_cut_to_the_screen() -> None:
    table = screen_table(["id", "text", "number"], [[1, "x" * 500, 2.123456], [22, None, 3]], 60)
    assert max(map(len, table.splitlines())) <= 60
    assert "1  xxx" in table and "…" in table and "2.123" in table


def test_columns_without_room_are_named() -> None:
    names = [f"column_{place}" for place in range(20)]
    *table, rest = screen_table(names, [list(range(20))], 80).splitlines()
    assert max(map(len, table)) <= 80
    assert rest == f"no room for: {', '.join(names[8:])}"


def test_model_text_cannot_write_over_the_screen() -> None:
    table = screen_table(["text"], [["\x1b[2J\x07safe\nnext\x9b"]], 80)
    assert table.splitlines()[-1] == "·[2J·safe ⏎ next·"


def test_a_schema_shows_types_and_sentences() -> None:
    view = next(view for view in view_docs() if view.name == "scores")
    lines = schema_text(view).splitlines()
    assert lines[0] == "scores (table): one row per model and split: accuracy with its 95% interval"
    assert lines[1].split(maxsplit=2) == ["model_id", "VARCHAR", "the model"]
    assert len(lines) == 1 + len(view.columns)
