"""Query `overhead` over two stages whose times are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfexplore_tasks.store.catalogue import SQL_DIR
from selfexplore_tasks.store.experiments import open_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, write_manifest
from selfexplore_tasks.store.select import select

QUERY = (SQL_DIR / "queries" / "overhead.sql").read_text(encoding="utf-8")


def stage(name: str, started: str, finished: str, seconds: float, notes: dict[str, object]) -> Manifest:
    return Manifest(
        experiment="timed",
        round=1,
        stage=name,
        recipe_hash="h",
        seed=0,
        started_at=f"2026-01-01T{started}+00:00",
        finished_at=f"2026-01-01T{finished}+00:00",
        seconds=seconds,
        notes=notes,
    )


@pytest.mark.parametrize(
    ("loading", "compute", "loaded", "between"),
    [
        # The process of `sample` starts at 9:59:58; 10 of its 60 seconds and none of the 20 of `rft_set` are loading.
        ({"process": 2.0, "engine": 7.0, "tokenizer": 3.0}, 70.0, 12.0, 10.0),
        (None, 80.0, 0.0, 10.0),  # written before there was such a note
    ],
)
def test_wall_time_is_compute_loading_and_what_lies_between(
    tmp_path: Path, loading: dict[str, float] | None, compute: float, loaded: float, between: float
) -> None:
    store = Store(tmp_path)
    open_experiment(store, "timed", "arithmetic-tiny")
    notes = {} if loading is None else {"loading": loading}
    write_manifest(store, stage("sample", "10:00:00.000", "10:01:00.000", 60.0, notes))
    write_manifest(store, stage("rft_set", "10:01:10.000", "10:01:30.000", 20.0, {"loading": {}} if notes else {}))
    write_manifest(store, stage("benchmarks", "11:00:00.000", "11:30:00.000", 1800.0, notes))  # belongs to no round
    (row,) = select(store, ["timed"], QUERY).to_pylist()
    wall = compute + loaded + between
    assert row == {
        "experiment": "timed",
        "round": 1,
        "wall_seconds": pytest.approx(wall),
        "compute_seconds": pytest.approx(compute),
        "loading_seconds": pytest.approx(loaded),
        "between_seconds": pytest.approx(between),
        "wall_by_compute": pytest.approx(wall / compute, abs=1e-3),
    }
