"""Stages rft_set and outcome_pairs out of core: equal to the plain rule, whatever the number of processes and kills."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_pairs_data import MODEL, SLUG, TIMED, forget_timed, open_store
from bench_pairs_reference import build, read_problems
from selfexplore_tasks.recipe_files import change_recipe
from selfexplore_tasks.stages import problem_workers
from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.stages.problem_stream import each_problem, whole_problems
from selfexplore_tasks.stages.problem_workers import worked
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.stages.rft_set import select_correct
from selfexplore_tasks.store.catalogue import connect
from selfexplore_tasks.store.experiments import load_experiment, save_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest, write_manifest
from selfexplore_tasks.store.parts import write_part
from selfexplore_tasks.store.spilling import spilling

PROBLEMS, DRAWN = 90, 24
PAIR = ("chosen_rationale_id", "rejected_rationale_id", "edit_distance", "drop_reason")


@pytest.fixture(scope="module")
def sampled_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An experiment whose next stage is rft_set: seeded right and wrong rationales of generated problems."""
    root = tmp_path_factory.mktemp("pairs")
    return open_store(root / "store", "arithmetic", PROBLEMS, data=root, seed=3, rationales=DRAWN)


@pytest.fixture
def store(sampled_store: Store) -> Store:
    forget_timed(sampled_store)
    return sampled_store


def built(store: Store) -> dict[str, pa.Table]:
    """The tables that the two stages have made, in the order in which they are stored."""
    tables = {}
    for stage, table in zip(TIMED, ("rft_examples", "pairs"), strict=True):
        manifest = read_manifest(store, SLUG, 1, stage)
        assert manifest is not None
        [name] = manifest.parts[table]
        tables[table] = pq.ParquetFile(store.table_dir(table, SLUG, 1) / name).read()
    return tables


def read_rows(store: Store, sql: str) -> list[dict[str, Any]]:
    connection = connect(store, [SLUG])
    try:
        rows: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
    finally:
        connection.close()
    return rows


def build_all(store: Store) -> dict[str, pa.Table]:
    for stage in TIMED:
        run_stage(store, SLUG, stage, round_number=1)
    return built(store)


def test_every_row_is_that_of_the_plain_rule(store: Store) -> None:
    """Against the reference of the benchmark: selection, partners, distances, reasons and the order of rows."""
    tables = build_all(store)
    selections: dict[str, dict[str, Any]] = {}
    for row in tables["rft_examples"].to_pylist():
        if row["origin"] == "sampled":
            selections.setdefault(row["problem_id"], {})[row["rationale_id"]] = row["drop_reason"]
    pairs: dict[str, list[Any]] = {}
    for row in tables["pairs"].to_pylist():
        pairs.setdefault(row["problem_id"], []).append(tuple(row[name] for name in PAIR))
    expected = {problem_id: asdict(build(rationales)) for problem_id, rationales in read_problems(store.root, None)}
    assert {key: selections.get(key, {}) for key in expected} == {
        key: one["selection"] for key, one in expected.items()
    }
    assert {key: pairs.get(key, []) for key in expected} == {key: one["pairs"] for key, one in expected.items()}
    reasons = {reason for one in expected.values() for reason in one["selection"].values()}
    assert {None, "false_equation", "duplicate_chain"} <= reasons
    assert {None, "no_correct_left", "duplicate_text"} <= {one[3] for rows in pairs.values() for one in rows}


def test_the_selection_is_the_same_made_or_taken_from_the_rft_set(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage outcome_pairs takes over what rft_set kept where both stages have the same candidates."""
    taken = build_all(store)
    forget_timed(store)
    monkeypatch.setattr("selfexplore_tasks.stages.outcome_pairs._is_selected", lambda context: False)
    made = build_all(store)
    assert made["pairs"].equals(taken["pairs"])


def test_neither_processes_nor_tables_change_a_row(
    left_over: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = build_all(store)
    forget_timed(store)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(problem_workers, "ALONE", 0)
    monkeypatch.setattr("selfexplore_tasks.stages.problem_stream.TABLE_ROWS", 30)
    spread = build_all(store)
    for table, rows in alone.items():
        assert spread[table].equals(rows), table
    assert not left_over()


def test_a_killed_stage_leaves_nothing_and_is_done_again(store: Store) -> None:
    """SIGKILL while rows are written: no part is visible, the workers end, and the next try gives the same rows."""
    expected = build_all(store)
    forget_timed(store)
    run_stage(store, SLUG, "rft_set", round_number=1)
    process, folder = _start(store, "outcome_pairs"), store.table_dir("pairs", SLUG, 1)
    workers: list[psutil.Process] = []
    while process.poll() is None and not (len(workers) == 2 and list(folder.glob(".part-outcome_pairs-*.tmp"))):
        with suppress(psutil.NoSuchProcess):
            workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(workers) == 2
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    assert not list(folder.glob("part-outcome_pairs-*.parquet"))
    assert read_manifest(store, SLUG, 1, "outcome_pairs") is None
    assert _start(store, "outcome_pairs").wait() == 0
    assert built(store)["pairs"].equals(expected["pairs"])


def _start(store: Store, stage: str) -> subprocess.Popen[bytes]:
    """The stage in a process of its own, with workers for however few rows."""
    code = (
        "import sys; from selfexplore_tasks.stages import problem_stream, problem_workers; "
        "problem_workers.ALONE, problem_stream.TABLE_ROWS = 0, 1; "
        "from selfexplore_tasks.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    environment = {**os.environ, "SELFEXPLORE_HOME": str(store.root), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", code, "stage", stage, "--experiment", SLUG, "--round", "1"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def test_a_worker_that_ends_ends_the_stage(left_over: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that the stage cannot work on: the worker's error is the stage's, and no process is left."""
    monkeypatch.setattr(problem_workers, "ALONE", 0)
    recipe = load_experiment(store, SLUG).recipe
    bad = pa.table({"problem_id": ["a", "b"]})
    with pytest.raises(ChildProcessError, match="exit code 1 before its work was done"):
        list(worked("rft_set", recipe, iter([bad] * 20), 2))
    assert not left_over()


def test_what_nobody_wants_any_more_is_not_worked_on(
    left_over: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables are read as they are needed, and the processes end with the reader."""
    monkeypatch.setattr(problem_workers, "ALONE", 0)
    read = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal read
        for number in range(10_000):
            read += 1
            yield pa.table({"problem_id": [f"p{number}"], "rationale_id": ["r"], "text": ["1 + 1 = 2"]})

    rows = worked("rft_set", load_experiment(store, SLUG).recipe, tables(), 2)
    assert [next(rows)["problem_id"][0].as_py() for _ in range(3)] == ["p0", "p1", "p2"]
    rows.close()  # type: ignore[attr-defined]
    assert read < 20
    assert not left_over()


def test_earlier_rounds_candidates_come_first(store: Store) -> None:
    """View int_rft_candidates: what the round before kept, without a model, beside what this round drew."""
    build_all(store)
    connection = connect(store, [SLUG])
    try:
        kept, again = (
            connection.sql(sql).fetchall()
            for sql in (
                "select problem_id, rationale_id, text from rft_examples "
                "where is_kept and origin = 'sampled' order by 2",
                "select problem_id, rationale_id, text from int_rft_candidates where round = 2 order by 2",
            )
        )
        drawn = connection.sql("select distinct model_id from int_rft_candidates where round = 1").fetchall()
    finally:
        connection.close()
    assert kept
    assert again == kept
    assert drawn == [(MODEL,)]


def accumulating(store: Store, root: Path) -> Store:
    """A copy as far as rft_set of round 2, of a recipe that accumulates: every text again, in other words."""
    shutil.copytree(store.root, root)
    store = Store(root)
    made = load_experiment(store, SLUG)
    save_experiment(store, replace(made, recipe=change_recipe(made.recipe, {"rft.data": "accumulated"})))
    build_all(store)
    [part] = store.table_dir("rationales", SLUG, 1).glob("*.parquet")
    drawn = pq.ParquetFile(part).read()
    for name, other in (("rationale_id", "{}@2"), ("text", "Well, {}")):
        values = pa.array([other.format(value) for value in drawn[name].to_pylist()])
        drawn = drawn.set_column(drawn.schema.get_field_index(name), drawn.schema.field(name), values)
    write_part(store.table_dir("rationales", SLUG, 2) / part.name, drawn, recipe_hash="h", seconds=0.0)
    sample = read_manifest(store, SLUG, 1, "sample")
    assert sample is not None
    for stage in (*stages_of(1), "summarize"):
        if read_manifest(store, SLUG, 1, stage) is None:
            write_manifest(store, replace(sample, stage=stage, parts={}))
    for stage in stages_of(2)[: stages_of(2).index("outcome_pairs")]:
        if stage not in TIMED:
            write_manifest(
                store, replace(sample, round=2, stage=stage, parts=sample.parts if stage == "sample" else {})
            )
    return store


def test_accumulated_rationales_are_selected_again_and_make_no_pairs(store: Store, tmp_path: Path) -> None:
    """What round 1 kept, by its ids, then what round 2 drew, in order of drawing; pairs are of round 2 alone."""
    store = accumulating(store, tmp_path / "store")
    for stage in TIMED:
        run_stage(store, SLUG, stage, round_number=2)
    rows = read_rows(store, "select * from rft_examples where round = 2 and origin = 'sampled'")
    candidates = read_rows(
        store,
        "select problem_id, rationale_id, text from rft_examples where round = 1 and is_kept and origin = 'sampled' "
        "order by problem_id, rationale_id",
    )
    assert candidates
    candidates += read_rows(
        store, "select * from int_correct_rationales where round = 2 order by problem_id, sample_index"
    )
    by_problem: dict[str, list[dict[str, Any]]] = {}
    for candidate in candidates:
        by_problem.setdefault(candidate["problem_id"], []).append(candidate)
    expected = {}
    for own in by_problem.values():
        reasons = select_correct([one["text"] for one in own], load_experiment(store, SLUG).recipe.rft).drop_reasons
        expected |= {one["rationale_id"]: reason for one, reason in zip(own, reasons, strict=True)}
    assert {row["rationale_id"]: row["drop_reason"] for row in rows} == expected
    assert len(rows) == len(candidates)
    earlier = {row["drop_reason"] for row in rows if not row["rationale_id"].endswith("@2")}
    assert {None, "duplicate_chain"} <= earlier
    again, first = (
        read_rows(store, f"select * from pairs where round = {number} order by pair_id") for number in (2, 1)
    )
    assert any(one["is_kept"] for one in again)
    assert {one["rejected_rationale_id"] for one in again} - {None} == {
        f"{one['rejected_rationale_id']}@2" for one in first if one["rejected_rationale_id"]
    }
    assert all(one["chosen_rationale_id"] is None or one["chosen_rationale_id"].endswith("@2") for one in again)


@given(
    st.lists(st.integers(1, 9), max_size=12), st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(1, 20)
)
def test_no_problem_is_cut(sizes: list[int], cuts: list[int], rows: int) -> None:
    """However the rows come, they go on in the same order, each problem whole."""
    ids = [f"p{place}" for place, size in enumerate(sizes) for _ in range(size)]
    table = pa.table({"problem_id": pa.array(ids, pa.string()), "row": pa.array(range(len(ids)), pa.int64())})
    pieces, begin = [], 0
    while begin < len(ids):
        pieces.append(table.slice(begin, cuts[len(pieces) % len(cuts)]))
        begin += pieces[-1].num_rows
    found = list(whole_problems(iter(pieces), rows))
    assert [row for one in found for row in one["row"].to_pylist()] == list(range(len(ids)))
    problems = [set(one["problem_id"].to_pylist()) for one in found]
    assert sum(map(len, problems)) == len(sizes)
    groups = [own["row"].to_pylist() for one in found for _, own in each_problem(one)]
    assert list(map(len, groups)) == sizes


SORT = "select number, repeat(md5(number::varchar), 20) as text from range(400000) numbers(number) order by text"
SPILL = f"""
import duckdb, sys
from pathlib import Path
from selfexplore_tasks.store.spilling import spilling
with spilling(duckdb.connect(":memory:"), Path(sys.argv[1])) as connection:
    connection.execute("set memory_limit = '160MiB'")
    connection.execute("set threads = 1")
    rows = connection.sql({SORT!r}).to_arrow_reader(10_000)
    rows.read_next_batch()
    print("spilled", flush=True)
    sys.stdin.read()
"""


def spilled_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_exceeds_the_memory_goes_to_disk_and_is_gone_afterwards(tmp_path: Path) -> None:
    with spilling(duckdb.connect(":memory:"), tmp_path) as connection:
        connection.execute("set memory_limit = '160MiB'")
        connection.execute("set threads = 1")
        count, spilled = 0, 0
        for batch in connection.sql(SORT).to_arrow_reader(10_000):
            count += batch.num_rows
            spilled = max(spilled, spilled_bytes(tmp_path))
    assert count == 400_000
    assert spilled > 50 * 2**20
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_spilled_is_removed_by_the_next_one(tmp_path: Path) -> None:
    """And what a live one spilled is not."""
    command = [sys.executable, "-c", SPILL, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "spilled\n"
        spilled = spilled_bytes(tmp_path)
        assert spilled > 50 * 2**20
        with spilling(duckdb.connect(":memory:"), tmp_path):
            pass
        assert spilled_bytes(tmp_path) == spilled
        process.kill()
    assert spilled_bytes(tmp_path) == spilled
    with spilling(duckdb.connect(":memory:"), tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("own", "limit", "threads"), [("16GiB", "1.0 GiB", 4), ("700MiB", "700.0 MiB", 4), ("300MiB", "300.0 MiB", 2)]
)
def test_a_small_machine_keeps_its_own_bound(own: str, limit: str, threads: int, tmp_path: Path) -> None:
    """And a thread gets what it needs: with four of them, 300 MiB are too few."""
    with spilling(duckdb.connect(":memory:", config={"memory_limit": own, "threads": 4}), tmp_path) as connection:
        found = connection.sql("select current_setting('memory_limit'), current_setting('threads')").fetchall()
    assert found == [(limit, threads)]
