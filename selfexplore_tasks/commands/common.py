"""What the commands share: declaring one with its example, choosing experiments, printing rows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

Subcommands = argparse._SubParsersAction  # argparse has no public name for it


def add_command(
    subcommands: Subcommands[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], None] | None,
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    """Declare a command: one sentence that says what it does, and an example."""
    parser: argparse.ArgumentParser = subcommands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"Example: {example}",
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Give a command the option ``--set KEY=VALUE``."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a field of the recipe, e.g. --set sample.n=8 (repeatable)",
    )


def chosen_experiments(slug: str | None) -> tuple[Any, list[str]]:
    """The store and the named experiment, or all of them."""
    from selfexplore_tasks.store.experiments import experiment_names, load_experiment
    from selfexplore_tasks.store.home import Store, check_slug

    store = Store.opened(slug)
    if slug is None:
        return store, experiment_names(store)
    return store, [load_experiment(store, check_slug(slug)).slug]


def print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows as a table for people, or as JSON."""
    if as_json:
        print(json.dumps(rows, indent=1, default=_plain))
        return
    from tabulate import tabulate

    if not rows:
        print("no rows")
        return
    # Texts that look like numbers are shown as they are.
    texts = [place for place, name in enumerate(rows[0]) if any(isinstance(row[name], str) for row in rows)]
    print(tabulate(rows, headers="keys", floatfmt=".4g", disable_numparse=texts))


def _plain(value: object) -> object:
    """JSON for what it has no type for: DuckDB sums whole numbers to decimals, the rest becomes text."""
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)
