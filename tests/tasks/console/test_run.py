"""Queries of a page: records, limits, errors with their place, files, and the process that runs them."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import duckdb
import psutil
import pyarrow.parquet as pq
import pytest
from tasks.console.conftest import HOSTILE_TEXTS, SECRET, Arena

from selfexplore_tasks.console import run
from selfexplore_tasks.console.cells import csv_cell
from selfexplore_tasks.console.errors import ConsoleBusy, QueryRefused, TablesChanged, pointed
from selfexplore_tasks.console.limits import MIB, SHOWN, Limits
from selfexplore_tasks.console.run import QueryServer, download, run_query, run_query_json
from selfexplore_tasks.console.sandbox import named_in
from selfexplore_tasks.pages.model import Column, QueryError, QueryResult
from selfexplore_tasks.store.catalogue import read_contents, view_files
from selfexplore_tasks.store.documentation import ready_queries
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.schemas import SCHEMA_VERSION, TABLES

QUESTIONS = "select question from problems order by question"


def refused(arena: Arena, query: str, limits: Limits = SHOWN) -> QueryRefused:
    with pytest.raises(QueryRefused) as found:
        run_query(arena.store, ["mine"], query, limits)
    return found.value


def server_process() -> psutil.Process:
    (found,) = [child for child in psutil.Process().children() if "selfexplore_tasks.console.server" in child.cmdline()]
    return found


def copied(arena: Arena, folder: Path) -> Store:
    """A copy of the arena's store, to be broken."""
    shutil.copytree(arena.store.root, folder / "store")
    return Store(folder / "store")


def test_rows_come_with_their_columns(arena: Arena) -> None:
    result = run_query(
        arena.store, ["mine"], "select 1 as n, 'é' as text, [1, null] as list union all by name select 2 as n"
    )
    assert result.columns == [
        Column(name="n", type="INTEGER"),
        Column(name="text", type="VARCHAR"),
        Column(name="list", type="INTEGER[]"),
    ]
    assert sorted(result.rows) == [[1, "é", [1, None]], [2, None, None]]
    assert (result.row_count, result.is_cut) == (2, False)


def test_the_json_is_that_of_the_record(arena: Arena) -> None:
    content = run_query_json(arena.store, ["mine"], QUESTIONS)
    assert QueryResult.model_validate_json(content).rows == [[text] for text in sorted(HOSTILE_TEXTS)]
    assert json.loads(content).keys() == QueryResult.model_fields.keys()


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("9007199254740993", "9007199254740993"),
        ("9007199254740992", 9007199254740992),
        ("170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
        ("'nan'::double", "nan"),
        ("'-inf'::double", "-inf"),
        ("1.50::decimal(9, 2)", 1.5),
        ("2.00::decimal(9, 2)", 2),
        ("date '2026-01-02'", "2026-01-02"),
        ("timestamp '2026-01-02 03:04:05'", "2026-01-02T03:04:05"),
        ("interval 36 hours", "1 day, 12:00:00"),
        ("'\\x00\\xff'::blob", "00ff"),
        ("map {1: 'a'}", {"1": "a"}),
        ("{'a': [1, 2]}", {"a": [1, 2]}),
        ("true", True),
        ("null", None),
    ],
)
def test_values_are_such_as_json_and_browsers_hold(value: str, cell: object, arena: Arena) -> None:
    assert run_query(arena.store, ["mine"], f"select {value} as cell").rows == [[cell]]


def test_only_the_experiments_asked_for_are_there(arena: Arena) -> None:
    names = "select distinct experiment from problems order by 1"
    assert run_query(arena.store, ["mine"], names).rows == [["mine"]]
    assert run_query(arena.store, None, names).rows == [["mine"], ["other"]]
    assert run_query(arena.store, [], names).rows == []
    with pytest.raises(QueryRefused, match="'nobody' does not exist"):
        run_query(arena.store, ["nobody"], names)
    with pytest.raises(QueryRefused, match="cannot name an experiment"):
        run_query(arena.store, ["../mine"], names)


def test_too_many_rows_are_cut(arena: Arena) -> None:
    result = run_query(arena.store, ["mine"], "select * from range(1000)", Limits(rows=10))
    assert (result.row_count, len(result.rows), result.is_cut) == (10, 10, True)
    assert not run_query(arena.store, ["mine"], "select * from range(10)", Limits(rows=10)).is_cut


def test_too_many_bytes_are_cut(arena: Arena) -> None:
    result = run_query(arena.store, ["mine"], "select repeat('x', 100000) from range(100)", Limits(answer_bytes=MIB))
    assert (result.row_count, result.is_cut) == (10, True)
    wide = refused(arena, "select repeat('x', 2000000)", Limits(answer_bytes=MIB))
    assert "One row is larger than the 1 MiB" in wide.message


@pytest.mark.parametrize(
    ("query", "place", "told"),
    [
        ("select nope from problems", "nope", 'column "nope" not found'),
        ("select 'é', '数', nope from problems", "nope", 'column "nope" not found'),
        ("select 1,\n  2 + foo(3)", "foo", "function foo is not on the list"),
        ("selec 1", "selec", "syntax error"),
        ("  explain select nope from problems", "nope", 'column "nope" not found'),
        ("select question::integer from problems", "::integer", "Could not convert"),
        ("from nowhere", "nowhere", "no table or view 'nowhere'"),
        ("explain analyze select 1", " analyze", "EXPLAIN ANALYZE runs the query"),
        ("explain (format json) select 1", " (format", "EXPLAIN takes no options"),
    ],
)
def test_an_error_names_its_place(query: str, place: str, told: str, arena: Arena) -> None:
    error = refused(arena, query)
    assert told in error.message
    assert error.position == query.index(place)
    assert error.record() == QueryError(message=error.message, position=error.position)
    assert "LINE" not in error.message
    last = pointed(error, query).splitlines()
    assert last[-1].index("^") == last[-2].index(place)


def test_a_message_names_no_path_of_the_server(arena: Arena, tmp_path: Path) -> None:
    store = copied(arena, tmp_path)
    part = store.root / arena.part.relative_to(arena.store.root)
    part.write_bytes(b"PAR1 and no more")
    with pytest.raises(QueryRefused) as found:
        run_query(store, ["mine"], QUESTIONS)
    assert "(a file)" in found.value.message
    assert str(tmp_path) not in found.value.message
    with pytest.raises(QueryRefused, match="'nobody' does not exist") as found:
        run_query(store, ["nobody"], QUESTIONS)
    assert str(tmp_path) not in found.value.message


def test_a_manifest_of_a_newer_program_is_one_sentence(arena: Arena, tmp_path: Path) -> None:
    store = copied(arena, tmp_path)
    manifest = store.manifest_file("other", 0, "prepare")
    newer = {**json.loads(manifest.read_text(encoding="utf-8")), "schema_version": SCHEMA_VERSION + 1}
    manifest.write_text(json.dumps(newer), encoding="utf-8")
    with pytest.raises(QueryRefused, match="upgrade selfexplore-airflow") as found:
        run_query(store, None, QUESTIONS)
    assert str(tmp_path) not in found.value.message
    assert len(run_query(store, ["mine"], QUESTIONS).rows) == len(HOSTILE_TEXTS), "the others can be asked"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_part_that_is_gone_is_one_sentence(kind: str, arena: Arena, tmp_path: Path) -> None:
    store = copied(arena, tmp_path)
    (store.root / arena.part.relative_to(arena.store.root)).unlink()
    with pytest.raises(TablesChanged, match="run the query again") as found:
        run_query(store, ["mine"], QUESTIONS)
    assert str(tmp_path) not in found.value.message
    with pytest.raises(TablesChanged):
        download(store, ["mine"], QUESTIONS, kind, tmp_path / "rows")
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize("name", ["Problems", '"problems"', "problems\u200b", "stg_problems", "STG_problems"])
def test_a_table_that_is_named_has_its_rows(name: str, arena: Arena) -> None:
    assert run_query(arena.store, ["mine"], f"select count(*) from {name}").rows == [[len(HOSTILE_TEXTS)]]
    assert run_query(arena.store, ["mine"], f"select * from (summarize {name})").row_count > 0


def test_the_parts_of_every_table_that_a_query_reads_are_there(arena: Arena) -> None:
    contents = replace(read_contents(arena.store, []), parts={table: [arena.part] for table in TABLES})
    views = {path.stem: path.read_text(encoding="utf-8") for path in view_files()}
    with duckdb.connect(":memory:") as connection:

        def read_by(query: str) -> set[str]:
            names = connection.get_table_names(query)
            return (names & TABLES.keys()).union(*(read_by(views[name]) for name in names & views.keys()))

        for query in (*(f"from {name}" for name in views), *(ready.sql for ready in ready_queries())):
            kept = named_in(query, contents)
            assert read_by(query) <= {table for table, parts in kept.parts.items() if parts}
    assert not any(named_in("from experiments", contents).parts.values())


def test_an_experiment_deleted_before_its_turn_is_left_out(
    arena: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = copied(arena, tmp_path)
    listed = run.experiment_names

    def list_then_delete(store: Store) -> list[str]:
        names = listed(store)
        store.experiment_file("other").unlink(missing_ok=True)
        return names

    monkeypatch.setattr(run, "experiment_names", list_then_delete)
    assert run_query(store, None, "select distinct experiment from problems").rows == [["mine"]]


def test_a_csv_is_safe_to_open_in_a_spreadsheet(arena: Arena, tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    query = "select question, -1 as number, [1, 2] as list, null as nothing from problems order by question"
    written = download(arena.store, ["mine"], query, "csv", target)
    with target.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert (written.row_count, written.is_cut, header) == (6, False, ["question", "number", "list", "nothing"])
    assert {tuple(row[1:]) for row in rows} == {("-1", "[1, 2]", "")}
    formulas = ("=HYPERLINK(1)", "@x")
    assert [row[0] for row in rows] == [f"'{text}" if text in formulas else text for text in sorted(HOSTILE_TEXTS)]


@pytest.mark.parametrize("text", ["-5", "+5", "-0.5", "-.5", "-5.", "-1e9", "+1.5E-3"])
def test_a_number_that_is_text_stays_as_it_is_in_a_csv(text: str) -> None:
    assert csv_cell(text) == text


@pytest.mark.parametrize("text", ["-5+2", "-5 ", "-", "+", "-e5", "-1-1", "--5", "-5\n", "-x", "-٣", "+1;=1", "-inf"])
def test_what_only_begins_like_a_number_is_no_formula_in_a_csv(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


def test_a_parquet_file_holds_the_exact_texts(arena: Arena, tmp_path: Path) -> None:
    target = tmp_path / "rows.parquet"
    written = download(arena.store, ["mine"], QUESTIONS, "parquet", target)
    table = pq.read_table(target)
    assert (written.row_count, written.is_cut) == (6, False)
    assert table["question"].to_pylist() == sorted(HOSTILE_TEXTS)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_are_cut_and_failures_leave_none(kind: str, arena: Arena, tmp_path: Path) -> None:
    target = tmp_path / "rows"
    written = download(arena.store, ["mine"], "from range(100000)", kind, target, Limits(rows=12_345))
    assert (written.row_count, written.is_cut) == (12_345, True)
    written = download(
        arena.store,
        ["mine"],
        "select repeat('x', 1000) from range(100000)",
        kind,
        target,
        Limits(rows=10**6, answer_bytes=MIB),
    )
    assert written.is_cut
    assert target.stat().st_size < 2 * MIB
    for query in ("select nope", "select repeat('x', 3000000000)"):
        with pytest.raises(QueryRefused):
            download(arena.store, ["mine"], query, kind, target)
        assert not target.exists()


def test_a_cell_larger_than_a_file_may_be_is_one_sentence(arena: Arena, tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    with pytest.raises(QueryRefused, match=r"larger than a file may be.*left\(text"):
        download(arena.store, ["mine"], "select repeat('x', 3000000)", "csv", target, Limits(answer_bytes=MIB))
    assert not target.exists()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_failure_in_the_middle_of_a_file_is_one_sentence(kind: str, arena: Arena, tmp_path: Path) -> None:
    for query, told in (
        ("select case when range = 90000 then 'x' else '1' end::integer as n from range(100000)", "Could not convert"),
        ("select sum(a.range) from range(1000000) as a, range(1000000) as b where a.range % 7 = 3", "longer than 1 s"),
    ):
        with pytest.raises(QueryRefused, match=told):
            download(arena.store, ["mine"], query, kind, tmp_path / "rows", Limits(rows=10**6, seconds=1))
        assert not (tmp_path / "rows").exists()


def test_twenty_people_ask_at_once(arena: Arena) -> None:
    def ask(number: int) -> object:
        query = f"select {number} as n" if number % 4 else "select list_reduce(range(100000000), lambda x, y: x + y)"
        try:
            return run_query(arena.store, ["mine"], query, Limits(memory_bytes=128 * MIB, wait_seconds=300)).rows
        except QueryRefused as error:
            return "memory" in error.message

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(ask, range(20)))
    assert answers == [[[number]] if number % 4 else True for number in range(20)]


def test_who_waits_too_long_is_told_so() -> None:
    server = QueryServer(places=1)
    impatient = server.place(Limits(wait_seconds=0.01))
    with server.place(SHOWN), pytest.raises(ConsoleBusy, match=r"busy.*try again"), impatient:
        pass
    with server.place(Limits(wait_seconds=0.01)):
        pass


def test_a_killed_server_is_started_again(arena: Arena) -> None:
    assert run_query(arena.store, ["mine"], "select 1").rows == [[1]]
    first = server_process()
    os.kill(first.pid, signal.SIGKILL)
    assert run_query(arena.store, ["mine"], "select 2").rows == [[2]]
    assert server_process().pid != first.pid


def test_the_server_has_no_secret_of_ours(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    run.stop()
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", SECRET)
    run_query(arena.store, ["mine"], "select 1")
    environment = server_process().environ()
    assert SECRET not in environment.values()
    assert not any(name.startswith("AIRFLOW") for name in environment)


def test_the_server_ends_with_its_owner(arena: Arena) -> None:
    run_query(arena.store, ["mine"], "select 1")
    process = server_process()
    run.stop()
    assert process.wait(timeout=60) in (0, None)
    assert run_query(arena.store, ["mine"], "select 1").rows == [[1]]
