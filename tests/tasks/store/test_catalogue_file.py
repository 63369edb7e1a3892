"""`selfexplore.duckdb`: opened by another program, with its own settings, whatever happens to the store meanwhile."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.catalogue import connect, view_files
from selfexplore_tasks.store.catalogue_file import refresh_catalogue
from selfexplore_tasks.store.documentation import view_docs
from selfexplore_tasks.store.experiments import delete_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.schemas import TABLES

RELATIONS = ["experiments", "stages", *TABLES, *(path.stem for path in view_files())]
SCRIPT = """
import duckdb, json, sys
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    rows = [connection.execute(query).fetchall() for query in json.load(sys.stdin)]
print(json.dumps(rows, default=str))
"""


@pytest.fixture
def store(finished_store: Store, tmp_path: Path) -> Store:
    """A copy of the finished store in a folder with an apostrophe."""
    root = tmp_path / "it's a store"
    shutil.copytree(finished_store.root, root, symlinks=True)
    return Store(root)


def asked(store: Store, *queries: str) -> list[list[list[Any]]]:
    """Rows of the queries as a notebook sees them: another process, DuckDB's own settings, read-only."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(store.catalogue_file)],
        input=json.dumps(queries),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    rows: list[list[list[Any]]] = json.loads(done.stdout)
    return rows


def copy_experiment(store: Store, name: str) -> None:
    """Another experiment with the same rows."""
    for folder in store.root.glob("tables/*/experiment=mini"):
        shutil.copytree(folder, folder.with_name(f"experiment={name}"))
    shutil.copyfile(store.experiment_file("mini"), store.experiment_file(name))
    for path in (store.root / "manifests" / "mini").rglob("*.json"):
        target = store.root / "manifests" / name / path.relative_to(store.root / "manifests" / "mini")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({**json.loads(path.read_text()), "experiment": name}))


def test_every_relation_has_the_rows_and_columns_of_our_own_connection(store: Store) -> None:
    refresh_catalogue(store)
    queries = [f"select count(*) from {name}" for name in RELATIONS]
    queries += [f"select column_name, column_type from (describe {name})" for name in RELATIONS]
    with connect(store, ["mini"]) as connection:
        ours = [[list(row) for row in connection.execute(query).fetchall()] for query in queries]
    assert asked(store, *queries) == ours
    assert sum(rows[0][0] for rows in ours[: len(RELATIONS)]) > 1_000


def test_the_command_line_program_opens_it(store: Store) -> None:
    """DuckDB's own program, an older release than the library, with its own settings."""
    refresh_catalogue(store)
    program = Path(sys.executable).with_name("duckdb")
    counts = " union all ".join(f"select '{name}' as name, count(*) as n from {name}" for name in RELATIONS)
    done = subprocess.run(
        [program, "-readonly", "-json", store.catalogue_file, "-c", counts], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with connect(store, ["mini"]) as connection:
        ours = connection.execute(counts).fetchall()
    assert sorted((row["name"], row["n"]) for row in json.loads(done.stdout)) == sorted(ours)


def test_a_finished_round_has_refreshed_it(finished_store: Store) -> None:
    assert asked(finished_store, "select count(*) from scores where round = 1")[0][0][0] > 0


def test_it_holds_views_only_and_explains_them(store: Store) -> None:
    refresh_catalogue(store)
    tables, views, comments = asked(
        store,
        "select count(*) from duckdb_tables()",
        "select view_name, comment from duckdb_views() where not internal and schema_name = 'main' order by 1",
        "select comment from duckdb_columns() where table_name = 'scores' and column_name = 'accuracy_low'",
    )
    assert tables == [[0]]
    assert views == sorted([view.name, view.doc] for view in view_docs())
    assert comments == [["lower end of the 95% Wilson interval"]]


def test_it_is_replaced_while_others_have_it_open(store: Store) -> None:
    path = refresh_catalogue(store)
    with duckdb.connect(str(path), read_only=True) as reader:
        before = path.stat().st_ino
        refresh_catalogue(store)
        assert path.stat().st_ino != before
        assert reader.execute("select count(*) from problems").fetchall() == [(340,)]
    assert [one.name for one in store.root.glob("*selfexplore.duckdb*")] == ["selfexplore.duckdb"]


def test_it_sees_what_came_and_went_since_it_was_made(store: Store) -> None:
    refresh_catalogue(store)
    count = "select experiment, count(*) from problems group by all order by all"
    assert asked(store, count) == [[["mini", 340]]]
    copy_experiment(store, "second")
    assert asked(store, count, "select count(*) from accuracy_by_round") == [[["mini", 340], ["second", 340]], [[20]]]
    delete_experiment(store, "mini")
    assert asked(store, count, "select count(*) from accuracy_by_round") == [[["second", 340]], [[10]]]
    delete_experiment(store, "second")
    assert asked(store, *(f"select count(*) from {name}" for name in RELATIONS)) == [[[0]]] * len(RELATIONS)


def test_unfinished_parts_are_not_shown(store: Store) -> None:
    refresh_catalogue(store)
    part = next(store.root.glob("tables/rationales/experiment=mini/round=001/part-sample-*.parquet"))
    (before,) = asked(store, "select count(*) from rationales")
    shutil.copyfile(part, part.with_name("part-sample-99999.parquet"))
    assert asked(store, "select count(*) from rationales") == [before]


def test_a_store_without_an_experiment_has_one_too(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    refresh_catalogue(store)
    assert asked(store, *(f"select count(*) from {name}" for name in RELATIONS)) == [[[0]]] * len(RELATIONS)


def test_a_path_that_is_a_pattern_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "a[b]*")
    with pytest.raises(UserError, match="as a pattern"):
        refresh_catalogue(store)
    assert not store.root.exists()
