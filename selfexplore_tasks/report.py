"""What an experiment did, as text: accuracy by model, counts, costs, and where to look next."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tabulate import tabulate

from selfexplore_tasks.store.catalogue import connect
from selfexplore_tasks.store.champions import champion
from selfexplore_tasks.store.home import Store

READY_QUERY = "select round, model, split, accuracy, promoted from accuracy_by_round order by split, round, model desc"


def score_rows(store: Store, slugs: list[str]) -> list[dict[str, Any]]:
    """One dict per model, benchmark and split, in the order they were made; the rows of `selfexplore scores`."""
    return query_rows(
        store,
        slugs,
        "select experiment, round, model, benchmark, split, accuracy, accuracy_low, accuracy_high, accuracy_flexible, "
        "problem_count, promoted, model_id from scores order by experiment, round, model desc, benchmark, split",
    )


def round_rows(store: Store, slugs: list[str]) -> list[dict[str, Any]]:
    """One dict per round; counts, tokens and seconds are dicts by name."""
    rows = query_rows(store, slugs, "select * from rounds order by experiment, round")
    for row in rows:
        row.update({name: dict(row[name]) for name in ("counts", "tokens", "seconds")})
    return rows


def round_report(store: Store, slug: str) -> str:
    """The tables `make demo` ends with."""
    rounds = round_rows(store, [slug])
    sections = [
        ("Accuracy, % of problems solved greedily [95% interval]", _accuracy_table(score_rows(store, [slug]))),
        ("Counts by round", _by_round(rounds, "counts")),
        ("Seconds by stage and round", _by_round(rounds, "seconds")),
        ("Tokens by stage and round (generated, or trained on)", _by_round(rounds, "tokens")),
    ]
    text = "\n\n".join(f"{title}\n{table}" for title, table in sections)
    model = f"Best model  {store.champion_link(slug)} ({champion(store, slug).model_id})\n" if rounds else ""
    return (
        f"{text}\n\n{model}Tables      {store.root / 'tables'}\n"
        f'Try         SELFEXPLORE_HOME={store.place} {_command()} sql --experiment {slug} "{READY_QUERY}"'
    )


def format_accuracy(row: dict[str, Any]) -> str:
    """`52.3 [48.3, 56.3]`, in percent."""
    low, high = 100 * row["accuracy_low"], 100 * row["accuracy_high"]
    return f"{100 * row['accuracy']:.1f} [{low:.1f}, {high:.1f}]"


def _accuracy_table(scores: list[dict[str, Any]]) -> str:
    table: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in scores:
        key = (row["round"], row["model"], row["benchmark"])
        line = table.setdefault(key, {"round": row["round"], "model": row["model"], "benchmark": row["benchmark"]})
        line[row["split"]] = format_accuracy(row)
        line[f"{row['split']} problems"] = row["problem_count"]
        line["promoted"] = "yes" if row["promoted"] else ""
    return tabulate(list(table.values()), headers="keys", disable_numparse=True)


def _command() -> str:
    """How to call `selfexplore` from here without activating the environment."""
    return os.path.relpath(Path(sys.prefix) / "bin" / "selfexplore")


def _by_round(rounds: list[dict[str, Any]], column: str) -> str:
    names = list(dict.fromkeys(name for row in rounds for name in row[column]))
    lines = [
        {"": name, **{f"round {row['round']}": _number(row[column].get(name)) for row in rounds}} for name in names
    ]
    if column == "seconds":
        totals = {f"round {row['round']}": _number(sum(row[column].values())) for row in rounds}
        lines.append({"": "total", **totals})
    return tabulate(lines, headers="keys", disable_numparse=True, colalign=("left", *["right"] * len(rounds)))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def query_rows(store: Store, slugs: list[str], sql: str) -> list[dict[str, Any]]:
    """Rows of one SELECT over the views of these experiments."""
    connection = connect(store, slugs)
    try:
        rows: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
        return rows
    finally:
        connection.close()
