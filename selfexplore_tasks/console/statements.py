"""What a query may be: exactly one statement that reads, made of nothing but what is listed.

DuckDB serialises reading statements only (SELECT, FROM, WITH, VALUES, TABLE, DESCRIBE, SUMMARIZE, SHOW), so that COPY,
DML, SET, ATTACH and the like stop there. It takes INSERT, DELETE and COPY to a file as a common table expression,
though, and has functions that execute SQL or read memory, files and settings: the serialised tree is walked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from selfexplore_tasks.console.errors import QueryRefused, character_of, refusal_of
from selfexplore_tasks.console.functions import FUNCTIONS, TABLE_FUNCTIONS
from selfexplore_tasks.console.limits import QUERY_CHARACTERS
from selfexplore_tasks.store.catalogue import view_files
from selfexplore_tasks.store.schemas import TABLE_DOCS

READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
SHOWN_BY_DUCKDB = frozenset({'"tables"', "__show_tables_expanded", '"databases"', '"schemas"'})
CATALOGUE_RELATIONS = frozenset({("information_schema", "tables"), ("information_schema", "columns")})
EXPLAIN = re.compile(r"\s*explain\b", re.IGNORECASE)
ANALYSED = re.compile(r"\s*(analyze|analyse)\b|\s*\(", re.IGNORECASE)
PLAIN_NAME = re.compile(r"[\w $-]+")
ONLY_READING = (
    "Only one statement that reads is allowed: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN; "
    "for PIVOT name the values (pivot … on … in (…))."
)


def checked(query: str) -> str:
    """Return the statement to run, in which every character is where it is in the query.

    Raises QueryRefused where it is not exactly one reading statement, or uses what is not listed.
    """
    check_text(query)
    statement = query.rstrip().rstrip(";")
    explained = EXPLAIN.match(statement)
    if explained and ANALYSED.match(statement, explained.end()):
        raise QueryRefused("EXPLAIN ANALYZE runs the query and is not allowed: use plain EXPLAIN.", explained.end())
    read = " " * explained.end() + statement[explained.end() :] if explained else statement
    _check(list(_dicts(_parsed(read))), query)
    return statement


def check_text(query: str) -> None:
    """Raise QueryRefused for a text that need not even be parsed."""
    if len(query) > QUERY_CHARACTERS:
        raise QueryRefused(f"The query has {len(query):,} characters; at most {QUERY_CHARACTERS:,} are allowed.")
    if "\0" in query:
        raise QueryRefused("The query holds a NUL character: remove it.", query.index("\0"))
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise QueryRefused(
            "The query holds half a surrogate pair, which is no text: remove it.", error.start
        ) from error


def _parsed(statement: str) -> list[Any]:
    """The tree of each statement of a text, by a DuckDB that holds nothing."""
    import duckdb

    try:
        with duckdb.connect(":memory:", config={"threads": 1}) as parser:
            parsed = json.loads(parser.execute("select json_serialize_sql(?)", [statement]).fetchall()[0][0])
    except duckdb.Error as error:
        raise refusal_of(error, statement) from error
    except RecursionError as error:
        raise QueryRefused("The query is nested too deeply: write it in fewer levels.") from error
    if parsed["error"]:
        if parsed["error_type"] == "not implemented":
            raise QueryRefused(ONLY_READING)
        place = character_of(statement, parsed.get("position"))
        raise QueryRefused(f"{parsed['error_type'].capitalize()} error: {parsed['error_message']}", place)
    if len(parsed["statements"]) != 1:
        raise QueryRefused(f"One statement at a time, this is {len(parsed['statements'])}.")
    return list(parsed["statements"])


def _check(parts: list[dict[str, Any]], query: str) -> None:
    """Look at every part of the tree; raises QueryRefused for the first that is not listed."""
    named = {str(part["key"]).lower() for part in parts if _is_named_query(part)}
    tables = named | {*TABLE_DOCS, *(path.stem for path in view_files())}
    for part in parts:
        found = _unlisted(part, tables)
        if found is not None:
            location = part.get("query_location")
            inside = isinstance(location, int) and location < len(query.encode())
            raise QueryRefused(found, character_of(query, str(location)) if inside else None)


def _is_named_query(part: dict[str, Any]) -> bool:
    value = part.get("value")
    return isinstance(value, dict) and "query_node" in value


def _unlisted(part: dict[str, Any], tables: Collection[str]) -> str | None:
    """What is wrong with one part, or None."""
    kind = str(part.get("type"))
    if kind.endswith("_NODE") and kind not in READING_NODES:
        return f"Only reading from the views is allowed, also inside of a query; found {kind}."
    if part.get("class") == "PARAMETER":
        return "A query has no parameters here: write the value itself."
    if kind == "BASE_TABLE" or (kind == "SHOW_REF" and part["query"] is None):
        if part.get("show_type") == "SHOW_SPECIAL" and part["table_name"] in SHOWN_BY_DUCKDB:
            return None
        return _unlisted_table(part, tables)
    function = part["function"].get("function_name") if kind == "TABLE_FUNCTION" else part.get("function_name")
    allowed = TABLE_FUNCTIONS if kind == "TABLE_FUNCTION" else FUNCTIONS | TABLE_FUNCTIONS
    if function is not None and str(function).lower() not in allowed:
        return f"The function {function} is not on the list of those that a query may call here."
    return None


def _unlisted_table(part: dict[str, Any], tables: Collection[str]) -> str | None:
    catalogue, schema, name = (str(part[key]).lower() for key in ("catalog_name", "schema_name", "table_name"))
    if schema in ("", "main") and catalogue in ("", "memory") and name in tables and PLAIN_NAME.fullmatch(name):
        return None
    if not catalogue and (schema, name) in CATALOGUE_RELATIONS:
        return None
    shown = ".".join(part for part in (catalogue, schema, name) if part)
    return f"There is no table or view {shown!r} here (SHOW TABLES lists them); files cannot be read."


def _dicts(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON value, however deep."""
    open_parts = [tree]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, dict):
            yield part
            open_parts += part.values()
        elif isinstance(part, list):
            open_parts += part
