"""Rows, tables, columns and ready queries as text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tabulate import tabulate

from selfexplore_tasks.console.cells import plain
from selfexplore_tasks.pages.model import ViewDoc
from selfexplore_tasks.store.documentation import ready_queries, view_docs

LEAST_CELL, BETWEEN = 8, 2
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def screen_table(names: Sequence[str], rows: Sequence[Sequence[object]], width: int) -> str:
    """A table whose lines fit a screen of ``width`` characters: wide cells are cut, columns without room are named."""
    if not rows:
        return "no rows"
    room = max(1, width // (LEAST_CELL + BETWEEN))
    shown, left_out = names[:room], names[room:]
    cells = [[_line(value) for value in row[:room]] for row in rows]
    widths = [max(len(name), *(len(row[place]) for row in cells)) for place, name in enumerate(shown)]
    most = _cell_width(widths, width - BETWEEN * (len(shown) - 1))
    cut = [[_cut(cell, most) for cell in row] for row in cells]
    right = ["right" if all(_is_number(row[place]) for row in rows) else "left" for place in range(len(shown))]
    table = tabulate(
        [[_cut(name, most) for name in shown], ["-" * min(width, most) for width in widths], *cut],
        tablefmt="plain",
        disable_numparse=True,
        colalign=right,
    )
    return f"{table}\nno room for: {', '.join(left_out)}" if left_out else table


def tables_text() -> str:
    return tabulate(
        [(view.name, view.doc.split(". ")[0]) for view in view_docs() if not view.is_internal], tablefmt="plain"
    )


def schema_text(view: ViewDoc) -> str:
    """A table or view with its columns, as text."""
    note = " (internal: may change)" if view.is_internal else ""
    columns = tabulate([(f"  {one.name}", one.type, one.doc) for one in view.columns], tablefmt="plain")
    return f"{view.name} ({view.kind}){note}: {view.doc}\n{columns}"


def queries_text() -> str:
    return tabulate([(query.name, query.question) for query in ready_queries()], tablefmt="plain")


def _line(value: object) -> str:
    """A value in one line, without the control characters by which model text could write over the screen."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "" if value is None else str(plain(value))
    return CONTROL.sub("·", re.sub(r"\s*\n\s*", " ⏎ ", text))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _cell_width(widths: Sequence[int], room: int) -> int:
    """The widest that a cell may be so that all columns fit into the room."""
    most = max(widths)
    while most > LEAST_CELL and sum(min(width, most) for width in widths) > room:
        most -= 1
    return most


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
