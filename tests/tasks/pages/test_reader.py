"""The reader: what it keeps, when it looks again, and which parts it opens."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hand_rounds import DEV, SLUG, HandRounds
from selfexplore_tasks.housekeeping.parts import compact_parts
from selfexplore_tasks.pages.problem import problem_page
from selfexplore_tasks.pages.reader import KEPT_BYTES, Reader, again_if_changed
from selfexplore_tasks.pages.snapshot import NotFound, Snapshot, Unreadable, Vanished
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, write_manifest


@pytest.mark.parametrize("slug", ["nobody", "..", "../mini", "mini/..", "", "a\0b", "mini ", "x" * 65, "%2e%2e"])
def test_what_is_no_experiment_is_not_found(reader: Reader, slug: str) -> None:
    with pytest.raises(NotFound):
        reader.snapshot(slug)


def test_a_snapshot_is_kept_until_a_stage_ends(hand: HandRounds) -> None:
    reader = Reader(hand.store)
    before = reader.snapshot(SLUG)
    assert reader.snapshot(SLUG) is before
    assert before.finished_rounds == [0]
    hand.round(1, {DEV: 30})
    hand.finish(1)
    assert reader.snapshot(SLUG).finished_rounds == [0, 1]
    assert reader.snapshot(SLUG).version([0]) == before.version([0]), "round 0 did not change"


def test_results_are_made_once_and_again_for_another_version(tmp_path: Path) -> None:
    reader, made = Reader(Store(tmp_path)), list[int]()

    def make() -> int:
        made.append(1)
        return len(made)

    def asked(version: int) -> set[int]:
        with ThreadPoolExecutor(8) as threads:
            waiting = [threads.submit(reader.remember, ("a",), version, make) for _ in range(50)]
            return {future.result() for future in waiting}

    assert [asked(1), asked(2), asked(2)] == [{1}, {2}, {2}]
    assert asked(1) == {3}, "the other version took its place"


def test_results_of_many_experiments_stay(tmp_path: Path) -> None:
    reader, made = Reader(Store(tmp_path)), list[int]()
    for _ in range(3):
        for number in range(2_000):
            reader.remember(("rounds", number), "v", lambda: made.append(1))
    assert len(made) == 2_000


def test_results_leave_when_they_are_too_large_together(tmp_path: Path) -> None:
    reader = Reader(Store(tmp_path))
    table = pa.table({"x": pa.repeat(pa.scalar(0, pa.int64()), KEPT_BYTES // 8 // 3)})
    text = "x" * (KEPT_BYTES // 3)
    for number in range(5):
        reader.remember((number,), "v", lambda number=number: table if number % 2 else text)  # type: ignore[misc]
    made = [reader.remember((number,), "v", lambda: None) for number in (4, 3, 2, 1, 0)]
    assert [one is None for one in made] == [False, False, True, True, True]


def test_threads_do_not_see_each_others_tables(reader: Reader) -> None:
    def rounds_of(name: str, table: str, rounds: list[int]) -> set[int]:
        return {row["round"] for row in reader.rows(name, {table: reader.snapshot("mini").parts(table, rounds)})}

    with ThreadPoolExecutor(8) as threads:
        asked = [(number % 2, threads.submit(rounds_of, "accuracy", "scores", [number % 2])) for number in range(60)]
        assert all(one.result() == {number} for number, one in asked)


def test_a_failed_result_is_not_kept(tmp_path: Path) -> None:
    reader = Reader(Store(tmp_path))
    with pytest.raises(ZeroDivisionError):
        reader.remember(("a",), 1, lambda: 1 // 0)
    assert reader.remember(("a",), 1, lambda: 5) == 5


def test_only_parts_that_may_hold_a_problem_are_opened(
    reader: Reader, stored: Callable[..., list[dict[str, Any]]]
) -> None:
    snapshot = reader.snapshot("mini")
    everything = snapshot.parts("rollouts")
    assert len(everything) > 1
    skipped = 0
    for problem_id in {row["problem_id"] for row in stored("rollouts")}:
        chosen = reader.parts_with(snapshot, "rollouts", problem_id)
        holding = [path for path in everything if problem_id in pq.read_table(path)["problem_id"].to_pylist()]
        assert set(holding) <= set(chosen)
        skipped += len(everything) - len(chosen)
    assert skipped > 0


def test_pages_are_the_same_after_housekeeping_merged_the_parts(store_before: Any) -> None:
    store = store_before("summarize")
    run_stage(store, "mini", "summarize", round_number=1)
    reader = Reader(store)
    problem_id = _first_explored(reader)
    before = problem_page(reader, "mini", problem_id)
    assert compact_parts(store, "mini", dry_run=False).count > 0
    assert len(reader.snapshot("mini").parts("rollouts")) == 1
    assert problem_page(reader, "mini", problem_id) == before


def _first_explored(reader: Reader) -> str:
    part = reader.snapshot("mini").parts("first_pits")[0]
    return str(pq.read_table(part)["problem_id"][0].as_py())


def test_threads_share_one_duckdb(tmp_path: Path) -> None:
    reader = Reader(Store(tmp_path))
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(lambda _: reader.rows("rounds", {"rounds": []}), range(16))) == [[]] * 16
        assert len({id(one) for one in threads.map(lambda _: reader._duckdb(), range(16))}) == 1


@pytest.mark.parametrize("table", ["rounds", "problems"])
def test_a_page_is_made_again_when_a_part_is_replaced_under_it(hand: HandRounds, table: str) -> None:
    reader, tries = Reader(hand.store), list[int]()
    problem_page(reader, SLUG, "other-dev-00")

    @again_if_changed
    def page() -> int:
        snapshot = reader.snapshot(SLUG)
        tries.append(1)
        if len(tries) == 1:
            _rename_part(hand.store, snapshot, table)
        if table == "problems":
            return len(reader.parts_with(snapshot, table, "other-dev-00"))
        return len(reader.rows("rounds", {table: snapshot.parts(table)}))

    assert (page(), len(tries)) == (1, 2)


def _rename_part(store: Store, snapshot: Snapshot, table: str) -> None:
    """As if the stage had been redone."""
    (manifest,) = [one for one in snapshot.manifests if table in one.parts]
    (path,) = snapshot.parts(table)
    path.rename(path.with_name("part-redone-00000.parquet"))
    later = {**asdict(manifest), "parts": {table: ["part-redone-00000.parquet"]}, "finished_at": "2026-01-02"}
    write_manifest(store, Manifest(**later))


@pytest.mark.parametrize("table", ["problems", "evaluations"])
def test_a_missing_part_is_told(hand: HandRounds, table: str) -> None:
    reader = Reader(hand.store)
    for path in reader.snapshot(SLUG).parts(table):
        path.unlink()
    with pytest.raises(Vanished, match="part of them is missing"):
        problem_page(reader, SLUG, "other-dev-00")


@pytest.mark.parametrize("table", ["problems", "evaluations"])
def test_a_damaged_part_is_told(hand: HandRounds, table: str) -> None:
    reader = Reader(hand.store)
    for path in reader.snapshot(SLUG).parts(table):
        path.write_bytes(b"PAR1" * 20)
    with pytest.raises(Unreadable, match="damaged"):
        problem_page(reader, SLUG, "other-dev-00")


def test_parts_of_an_older_schema_read_as_null(hand: HandRounds) -> None:
    reader = Reader(hand.store)
    part = reader.snapshot(SLUG).parts("rounds")[0]
    with pq.ParquetFile(part) as file:
        old = file.read().drop_columns(["decision_reason", "alarms"])
    pq.write_table(old, part)
    (row,) = reader.rows("rounds", {"rounds": [part]})
    assert (row["decision_reason"], row["alarms"], row["champion"]) == ("", [], "0/sft")
