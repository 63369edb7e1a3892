"""Names, parts, manifests, locks and chunk claims of the store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store import files
from selfexplore_tasks.store.champions import champion_before
from selfexplore_tasks.store.experiments import experiment_names, last_round, load_experiment
from selfexplore_tasks.store.files import write_atomically, write_json
from selfexplore_tasks.store.home import Store, check_slug
from selfexplore_tasks.store.locks import chunk_claim, live_stages, stage_lock
from selfexplore_tasks.store.manifests import Manifest, read_manifest, read_manifests, write_manifest
from selfexplore_tasks.store.parts import GROUP_ROWS, is_done, read_stamps, to_table, write_part, write_streamed_part
from selfexplore_tasks.store.schemas import SCHEMA_VERSION, TABLES

ROW: dict[str, Any] = {"source": "s", "row_number": 3, "reason": "duplicate", "question": "q?"}


def manifest(stage: str, round_number: int = 0, **changes: Any) -> Manifest:
    common = {"recipe_hash": "h", "seed": 1, "started_at": "1", "finished_at": "2", "seconds": 1.0}
    return Manifest(experiment="e", round=round_number, stage=stage, **{**common, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.mark.parametrize("slug", ["a", "demo", "A-1_b.c", "x" * 64, "0"])
def test_good_names(slug: str) -> None:
    assert check_slug(slug) == slug


@given(st.text(max_size=70))
def test_an_accepted_name_is_one_plain_path_component(slug: str) -> None:
    try:
        check_slug(slug)
    except UserError:
        return
    root = Path("/store/experiments")
    assert (root / f"{slug}.json").resolve().parent == root
    assert not set(slug) & set("/\\\0*?[]'\"\n ")


def test_the_store_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(tmp_path))
    assert Store.from_environment().root == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SELFEXPLORE_HOME", "")
    assert Store.from_environment().root == tmp_path / ".selfexplore"
    monkeypatch.setenv("SELFEXPLORE_HOME", "~/else")
    assert Store.from_environment().root == tmp_path / "else"


def test_checking_whether_a_store_is_writable_creates_nothing(store: Store) -> None:
    store.check_writable()
    assert not store.root.exists()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})

    def fail(temporary: Path) -> None:
        temporary.write_text("half", encoding="utf-8")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}


def test_a_file_is_on_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    synced: list[tuple[str, bool]] = []
    monkeypatch.setattr(files, "sync", lambda target: synced.append((target.name, path.exists())))
    write_json(path, {})
    assert [exists for _, exists in synced] == [False, True]
    assert synced[1][0] == tmp_path.name


def test_a_part_carries_its_schema_and_stamps(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write_part(path, to_table("rejected_rows", [ROW]), recipe_hash="h1", seconds=1.25)
    assert read_stamps(path) == {"schema_version": str(SCHEMA_VERSION), "recipe_hash": "h1", "seconds": "1.250"}
    assert pq.read_table(path).to_pylist() == [ROW]
    assert pq.read_schema(path).equals(TABLES["rejected_rows"])


def test_who_looks_for_one_problem_need_not_read_a_whole_part(tmp_path: Path) -> None:
    count, path = 2 * GROUP_ROWS + 1, tmp_path / "part.parquet"
    nothing = dict.fromkeys(TABLES["problems"].names)
    rows = to_table("problems", [{**nothing, "problem_id": f"p-{number:06d}"} for number in range(count)])
    write_part(path, rows, recipe_hash="h", seconds=0.0)
    metadata = pq.read_metadata(path)
    ids = [metadata.row_group(group).column(0).statistics for group in range(metadata.num_row_groups)]
    assert [(one.min, one.max) for one in ids] == [
        ("p-000000", f"p-{GROUP_ROWS - 1:06d}"),
        (f"p-{GROUP_ROWS:06d}", f"p-{2 * GROUP_ROWS - 1:06d}"),
        (f"p-{2 * GROUP_ROWS:06d}", f"p-{2 * GROUP_ROWS:06d}"),
    ]


def test_an_empty_part_has_the_schema_too(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write_part(path, to_table("rounds", []), recipe_hash="h1", seconds=0)
    assert pq.read_schema(path).equals(TABLES["rounds"])


@pytest.mark.parametrize("row", [{**ROW, "extra": 1}, {key: ROW[key] for key in list(ROW)[1:]}])
def test_a_misspelt_or_missing_column_is_an_error(row: dict[str, Any]) -> None:
    with pytest.raises(KeyError, match="rejected_rows"):
        to_table("rejected_rows", [ROW, row])


def test_a_chunk_of_another_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    assert not is_done(path, recipe_hash="h1")
    write_part(path, to_table("rejected_rows", [ROW]), recipe_hash="h1", seconds=0)
    assert is_done(path, recipe_hash="h1")
    with pytest.raises(UserError, match="made under recipe hash h1, this run has h2"):
        is_done(path, recipe_hash="h2")


def test_every_column_is_described() -> None:
    for table, schema in TABLES.items():
        for column in schema:
            assert (column.metadata or {}).get(b"doc"), f"{table}.{column.name}"


def test_manifests_come_back_as_written(store: Store) -> None:
    written = manifest("sft", row_counts={"a": 1}, parts={"t": ["p"]}, notes={"n": [1, None]}, versions={"torch": "2"})
    assert read_manifest(store, "e", 0, "sft") is None
    write_manifest(store, written)
    write_manifest(store, manifest("sample", 1))
    assert read_manifest(store, "e", 0, "sft") == written
    assert [(one.round, one.stage) for one in read_manifests(store, "e")] == [(0, "sft"), (1, "sample")]


def test_a_newer_schema_is_named(store: Store) -> None:
    write_manifest(store, manifest("sft", schema_version=SCHEMA_VERSION + 1))
    with pytest.raises(UserError, match=f"schema version {SCHEMA_VERSION + 1}, newer than this program's"):
        read_manifest(store, "e", 0, "sft")


def test_rounds_end_with_their_summary(store: Store) -> None:
    assert last_round(store, "e") is None
    with pytest.raises(UserError, match="round 0 is not finished"):
        champion_before(store, "e", 1)
    write_manifest(store, manifest("summarize", 0, notes={"champion": "0/sft", "promoted": True}))
    write_manifest(store, manifest("sample", 1))
    assert (last_round(store, "e"), champion_before(store, "e", 1)) == (0, "0/sft")


def test_unknown_experiments_are_answered_with_the_known_ones(store: Store) -> None:
    write_json(store.experiment_file("known"), {})
    assert experiment_names(store) == ["known"]
    with pytest.raises(UserError, match=r"'unknown' does not exist .*there: known"):
        load_experiment(store, "unknown")


def test_shards_run_side_by_side_other_stages_do_not(store: Store) -> None:
    with (
        stage_lock(store, "e", round_number=1, stage="sample", shard=0),
        stage_lock(store, "e", round_number=1, stage="sample", shard=1),
        stage_lock(store, "other", round_number=1, stage="sample", shard=0),
    ):
        assert live_stages(store, "e") == ["001-sample-0", "001-sample-1"]
        for stage, shard in (("sample", 0), ("sample", 1), ("explore", 0)):
            with (
                pytest.raises(UserError, match=r"'e' is live: 001-sample-\d"),
                stage_lock(store, "e", round_number=1, stage=stage, shard=shard),
            ):
                pass
        assert sorted(path.name for path in store.lock_dir("e").glob("*.lock")) == [
            "001-sample-0.lock",
            "001-sample-1.lock",
        ]
    assert live_stages(store, "e") == []


def test_a_lock_ends_with_its_process(store: Store) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom selfexplore_tasks.store.home import Store\n"
        "from selfexplore_tasks.store.locks import stage_lock\n"
        "with stage_lock(Store(Path(sys.argv[1])), 'e', round_number=1, stage='sample', shard=0):\n    os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(store.root)])
    assert done.returncode == 9
    assert live_stages(store, "e") == []
    with stage_lock(store, "e", round_number=1, stage="explore", shard=0):
        assert live_stages(store, "e") == ["001-explore-0"]


def test_looking_at_what_runs_never_stops_a_stage_from_starting(store: Store) -> None:
    """`experiments list` beside a stage that starts: looking takes each lock for an instant."""
    with stage_lock(store, "e", round_number=1, stage="sample", shard=0):
        pass
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            live_stages(store, "e")

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(150):
            with stage_lock(store, "e", round_number=1, stage="sample", shard=0):
                pass
    finally:
        stop.set()
        looker.join()


def test_a_chunk_is_claimed_once(tmp_path: Path) -> None:
    with chunk_claim(tmp_path, "c") as first, chunk_claim(tmp_path, "c") as second, chunk_claim(tmp_path, "d") as other:
        assert (first, second, other) == (True, False, True)
    assert list(tmp_path.iterdir()) == []
    with chunk_claim(tmp_path, "c") as again:
        assert again


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom selfexplore_tasks.store.locks import chunk_claim\n"
        "with chunk_claim(Path(sys.argv[1]), 'c') as claimed:\n    os._exit(7 if claimed else 1)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=dict(os.environ)).returncode == 7
    with chunk_claim(tmp_path, "c") as claimed:
        assert claimed


@pytest.mark.parametrize("rows", [0, 1, 7, GROUP_ROWS, 3 * GROUP_ROWS + 5])
def test_a_part_written_as_its_rows_come_is_the_same(rows: int, tmp_path: Path) -> None:
    """Groups of rows do not depend on the tables that they come in; the seconds are those at the end."""
    table = to_table("rejected_rows", [{**ROW, "row_number": number} for number in range(rows)])
    whole, streamed = tmp_path / "whole.parquet", tmp_path / "streamed.parquet"
    write_part(whole, table, recipe_hash="h1", seconds=2.0)
    seconds = iter([2.0])
    pieces = [table.slice(begin, 1_500) for begin in range(0, rows, 1_500)]
    write_streamed_part(streamed, table.schema, iter(pieces), recipe_hash="h1", seconds=lambda: next(seconds))
    assert read_stamps(streamed) == read_stamps(whole)
    assert pq.ParquetFile(streamed).read().equals(pq.ParquetFile(whole).read())
    groups = [pq.read_metadata(path) for path in (whole, streamed)]
    sizes = [[one.row_group(group).num_rows for group in range(one.num_row_groups)] for one in groups]
    assert sizes[0] == sizes[1]
    assert all(size == GROUP_ROWS for size in sizes[0][:-1])


def test_a_part_whose_rows_end_in_an_error_is_not_there(tmp_path: Path) -> None:
    table = to_table("rejected_rows", [ROW] * GROUP_ROWS)

    def rows() -> Iterator[pa.Table]:
        yield from (table, table)
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="gone"):
        write_streamed_part(tmp_path / "part.parquet", table.schema, rows(), recipe_hash="h", seconds=lambda: 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_part_larger_than_memory_is_written_in_little_of_it(tmp_path: Path) -> None:
    """Of 200 MB of rows never more than a tenth is held."""
    peak, before, text = 0, pa.total_allocated_bytes(), "x" * 1_000

    def rows() -> Iterator[pa.Table]:
        nonlocal peak
        for number in range(200):
            peak = max(peak, pa.total_allocated_bytes() - before)
            yield to_table("rejected_rows", [{**ROW, "question": f"{number} {row} {text}"} for row in range(1_000)])

    path = tmp_path / "part.parquet"
    write_streamed_part(path, TABLES["rejected_rows"], rows(), recipe_hash="h", seconds=lambda: 0.0)
    assert pq.read_metadata(path).num_rows == 200_000
    assert peak < 20 * 2**20
