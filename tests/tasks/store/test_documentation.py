"""Every table, view and column is explained, and nothing is explained that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from selfexplore_tasks.store.catalogue import SQL_DIR, view_files
from selfexplore_tasks.store.documentation import KEY_DOCS, read_docs, ready_queries, schema_markdown, view_docs
from selfexplore_tasks.store.schemas import TABLE_DOCS, TABLES

README = SQL_DIR.parent / "README.md"
VIEWS = {view.name: view for view in view_docs()}
DOCUMENTED = [path for path in view_files() if not path.stem.startswith("int_")]


def test_every_table_and_view_is_there_once() -> None:
    assert sorted(VIEWS) == sorted({"experiments", "stages", *TABLES, *(path.stem for path in view_files())})
    assert len(view_docs()) == len(VIEWS)
    assert TABLE_DOCS.keys() == {"experiments", "stages", *TABLES}
    assert {view.name for view in view_docs() if view.is_internal} == {
        name for name in VIEWS if name.startswith("int_")
    }
    assert {view.name for view in view_docs() if view.kind == "table"} == TABLE_DOCS.keys()


@pytest.mark.parametrize("name", [name for name in VIEWS if not name.startswith("int_")])
def test_every_column_has_a_sentence(name: str) -> None:
    view = VIEWS[name]
    assert view.doc.startswith("one row per ")
    assert [column.name for column in view.columns if not column.doc] == []
    assert all(column.type for column in view.columns)


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.stem)
def test_no_sentence_is_about_a_column_that_is_not_there(path: Path) -> None:
    _, docs = read_docs(path)
    names = [column.name for column in VIEWS[path.stem].columns]
    assert list(docs) == [name for name in names if name not in KEY_DOCS], "in the order of the columns"


def test_sentences_go_on_over_lines_and_the_grain_is_apart(tmp_path: Path) -> None:
    path = tmp_path / "view.sql"
    path.write_text(
        "-- Grain: one row per thing.\n-- Things are `a: b`.\n-- first: one\n--   and more\n-- second: two: three\n"
        "select 1\n-- not: this\n",
        encoding="utf-8",
    )
    assert read_docs(path) == (
        "one row per thing. Things are `a: b`",
        {"first": "one and more", "second": "two: three"},
    )


def test_every_ready_query_asks_a_question_of_its_own() -> None:
    queries = ready_queries()
    assert len(queries) >= 20
    assert all(re.fullmatch(r"[A-Z].+\?", query.question) for query in queries)
    assert len({query.question for query in queries}) == len(queries)


def test_the_readme_shows_the_schema() -> None:
    text = README.read_text(encoding="utf-8")
    shown = re.search(r"<!-- schema:begin -->\n(.*)\n<!-- schema:end -->", text, flags=re.DOTALL)
    assert shown, "README.md lacks the markers <!-- schema:begin --> and <!-- schema:end -->"
    assert shown[1].strip() == schema_markdown(), "paste the output of `selfexplore sql --schema --markdown`"
