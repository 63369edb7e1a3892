"""What a query may be: exactly one statement that reads, made of nothing but what is listed.

DuckDB serialises reading statements only (SELECT, FROM, WITH, VALUES, TABLE, DESCRIBE, SUMMARIZE, SHOW), so that COPY,
DML, SET, ATTACH and the like stop there. It takes INSERT, DELETE and COPY to a file as a common table expression,
though, and has functions that execute SQL or read memory, files and settings: the serialised tree is walked. The name
of a common table expression is a table only where the expression is in scope, or DuckDB would find its own view there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from selfexplore_tasks.console.errors import QueryRefused, character_of, refusal_of
from selfexplore_tasks.console.functions import FUNCTIONS, TABLE_FUNCTIONS
from selfexplore_tasks.console.limits import QUERY_CHARACTERS
from selfexplore_tasks.store.catalogue import view_files
from selfexplore_tasks.store.schemas import TABLE_DOCS

READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE"})
SHOWN_BY_DUCKDB = frozenset({'"tables"', "__show_tables_expanded", '"databases"', '"schemas"'})
CATALOGUE_RELATIONS = frozenset({("information_schema", "tables"), ("information_schema", "columns")})
DUCKDBS_OWN = ("duckdb_", "pg_", "pragma_", "sqlite_")
"""How the names begin that DuckDB finds without a schema."""
EXPLAIN = re.compile(r"\s*explain\b", re.IGNORECASE)
ANALYSED = re.compile(r"\s*(analyze|analyse)\b", re.IGNORECASE)
WITH_OPTIONS = re.compile(r"\s*\(")
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
    if explained and WITH_OPTIONS.match(statement, explained.end()):
        raise QueryRefused("EXPLAIN takes no options or brackets here: write EXPLAIN SELECT …", explained.end())
    read = " " * explained.end() + statement[explained.end() :] if explained else statement
    _check(_parsed(read), query)
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


def _check(tree: Any, query: str) -> None:
    """Look at every part of the tree; raises QueryRefused for one that is not listed."""
    tables = frozenset({*TABLE_DOCS, *(path.stem for path in view_files())})
    for part, named in _scoped(tree):
        found = _unlisted(part, named, tables)
        if found is not None:
            location = part.get("query_location")
            inside = isinstance(location, int) and location < len(query.encode())
            raise QueryRefused(found, character_of(query, str(location)) if inside else None)


def _unlisted(part: dict[str, Any], named: frozenset[str], tables: frozenset[str]) -> str | None:
    """What is wrong with one part, or None; ``named`` are the common table expressions in its scope."""
    kind = str(part.get("type"))
    if kind.endswith("_NODE") and kind not in READING_NODES:
        return f"Only reading from the views is allowed, also inside of a query; found {kind}."
    if part.get("class") == "PARAMETER":
        return "A query has no parameters here: write the value itself."
    own = [name for name in _names_given(part) if name.startswith(DUCKDBS_OWN)]
    if own:
        return f"The name {own[0]} is like those of DuckDB's own views: give the subquery another one."
    if kind == "BASE_TABLE" or (kind == "SHOW_REF" and part["query"] is None):
        if part.get("show_type") == "SHOW_SPECIAL" and part["table_name"] in SHOWN_BY_DUCKDB:
            return None
        return _unlisted_table(part, named, tables)
    function = part["function"].get("function_name") if kind == "TABLE_FUNCTION" else part.get("function_name")
    allowed = TABLE_FUNCTIONS if kind == "TABLE_FUNCTION" else FUNCTIONS | TABLE_FUNCTIONS
    if function is not None and str(function).lower() not in allowed:
        return f"The function {function} is not on the list of those that a query may call here."
    return None


def _unlisted_table(part: dict[str, Any], named: frozenset[str], tables: frozenset[str]) -> str | None:
    catalogue, schema, name = (str(part[key]).lower() for key in ("catalog_name", "schema_name", "table_name"))
    if not catalogue and not schema and name in named and PLAIN_NAME.fullmatch(name):
        return None
    if schema in ("", "main") and catalogue in ("", "memory") and name in tables:
        return None
    if not catalogue and (schema, name) in CATALOGUE_RELATIONS:
        return None
    shown = ".".join(part for part in (catalogue, schema, name) if part)
    return f"There is no table or view {shown!r} here (SHOW TABLES lists them); files cannot be read."


def _scoped(tree: Any) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """Every object of a JSON value, however deep, with the names of the common table expressions it can see.

    Those are the ones of the queries around it; of its own WITH the ones before it, and itself where it is recursive.
    """
    open_parts: list[tuple[Any, frozenset[str]]] = [(tree, frozenset())]
    while open_parts:
        part, named = open_parts.pop()
        if isinstance(part, list):
            open_parts += [(one, named) for one in part]
        elif isinstance(part, dict):
            yield part, named
            for entry in _entries(part):
                open_parts.append((entry, named))
                named |= {str(entry["key"]).lower()}
            itself = {str(part["cte_name"]).lower()} if part.get("type") == "RECURSIVE_CTE_NODE" else set()
            open_parts += [
                (one, named | itself if key == "right" else named) for key, one in part.items() if key != "cte_map"
            ]


def _entries(part: dict[str, Any]) -> list[dict[str, Any]]:
    """The common table expressions that a query begins with, in their order."""
    return list((part.get("cte_map") or {}).get("map") or ())


def _names_given(part: dict[str, Any]) -> list[str]:
    return [str(entry["key"]).lower() for entry in _entries(part)]
