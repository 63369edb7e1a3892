"""`selfexplore sql`: one reading statement, an interactive shell, and what there is to ask."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfexplore_tasks.commands.common import Subcommands, add_command, chosen_experiments, print_rows
from selfexplore_tasks.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLES = """\
Example: selfexplore sql "select * from first_pit_histogram" --experiment demo
         selfexplore sql accuracy                       a ready query; --queries lists them
         selfexplore sql "from pairs" --parquet pairs.parquet
         selfexplore sql mine.sql --csv > mine.csv
         selfexplore sql                                a shell with completion; .help helps
         echo "from scores" | selfexplore sql --json
         selfexplore sql --schema                       every table, view and column, explained
         duckdb -readonly ~/.selfexplore/selfexplore.duckdb"""


def declare(subcommands: Subcommands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subcommands,
        "sql",
        sql,
        "run one read-only SELECT over the experiments' views; without a query: a shell, or read standard input",
        "",
    )
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "query", nargs="?", metavar="QUERY", help="the statement, or a ready one: a file or name in sql/queries"
    )
    what.add_argument("--schema", action="store_true", help="print every table and view with its columns")
    what.add_argument("--queries", action="store_true", help="print the ready queries with their questions")
    what.add_argument(
        "--refresh-catalogue",
        action="store_true",
        help="write selfexplore.duckdb anew, the views for any DuckDB to open read-only (each round does)",
    )
    parser.add_argument("--experiment", metavar="E", help="only this experiment")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON")
    output.add_argument("--csv", action="store_true", help="print CSV")
    output.add_argument("--parquet", metavar="FILE", help="write a parquet file")
    output.add_argument("--markdown", action="store_true", help="with --schema: print a markdown table")


def sql(options: argparse.Namespace) -> None:
    if options.markdown and not options.schema:
        raise UserError("--markdown goes with --schema only: for rows take --json, --csv or --parquet.")
    if options.schema:
        _print_schema(options)
    elif options.queries:
        _print_queries(options)
    elif options.refresh_catalogue:
        from selfexplore_tasks.store.catalogue_file import refresh_catalogue

        store, _ = chosen_experiments(None)
        store.check_writable()
        print(f"Written: {refresh_catalogue(store)}")
    else:
        _answer(options)


def _answer(options: argparse.Namespace) -> None:
    store, slugs = chosen_experiments(options.experiment)
    is_asked = options.query is None and not (options.json or options.csv or options.parquet)
    if is_asked and sys.stdin.isatty() and sys.stdout.isatty():
        from selfexplore_tasks.console.shell import Shell

        Shell(store, slugs).run()
        return
    query = sys.stdin.read() if options.query is None else ready_query(options.query) or options.query
    _print_table(_rows(store, slugs, query), options)


def _rows(store: Any, slugs: list[str], query: str) -> pa.Table:
    from selfexplore_tasks.console.errors import QueryRefused, pointed
    from selfexplore_tasks.store.select import select

    try:
        return select(store, slugs, query)
    except QueryRefused as refused:
        raise UserError(f"SQL: {pointed(refused, query)}") from refused


def _print_table(table: pa.Table, options: argparse.Namespace) -> None:
    if options.parquet:
        import pyarrow.parquet as pq

        try:
            pq.write_table(table, options.parquet)
        except OSError as error:
            raise UserError(f"{options.parquet} cannot be written: {error}") from error
        print(f"{table.num_rows} rows written to {options.parquet}")
    elif options.csv:
        from pyarrow import csv

        csv.write_csv(_flat(table), sys.stdout.buffer)
    else:
        print_rows(table.to_pylist(), as_json=options.json)


def _print_schema(options: argparse.Namespace) -> None:
    from selfexplore_tasks.console.texts import schema_text
    from selfexplore_tasks.store.documentation import schema_markdown, view_docs

    if options.json:
        print(json.dumps([view.model_dump() for view in view_docs()], indent=1))
    elif options.markdown:
        print(schema_markdown())
    else:
        print("\n\n".join(schema_text(view) for view in view_docs()))


def _print_queries(options: argparse.Namespace) -> None:
    from selfexplore_tasks.console.texts import queries_text
    from selfexplore_tasks.store.documentation import ready_queries

    if options.json:
        print(json.dumps([query.model_dump() for query in ready_queries()], indent=1))
    else:
        print(queries_text())


def ready_query(name: str) -> str | None:
    """The text of a ready query or of a file; None if the name is neither."""
    from selfexplore_tasks.store.catalogue import SQL_DIR

    path = SQL_DIR / "queries" / f"{name}.sql"
    if name.isidentifier() and path.exists():
        return path.read_text(encoding="utf-8")
    if name.endswith(".sql"):
        file = Path(name)
        if not file.is_file():
            raise UserError(f"There is no file {name}.")
        return file.read_text(encoding="utf-8")
    return None


def _flat(table: pa.Table) -> pa.Table:
    """CSV has no lists or maps: such columns become JSON text."""
    import pyarrow as pa

    for index, column in enumerate(table.schema):
        if pa.types.is_nested(column.type):
            texts = [json.dumps(value, default=str) for value in table.column(index).to_pylist()]
            table = table.set_column(index, column.name, pa.array(texts, pa.string()))
    return table
