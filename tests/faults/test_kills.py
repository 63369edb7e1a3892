"""Ten kills: eight of stages over two rounds, two of Airflow in round 0. `make test-faults` does a hundred."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_kills import run_airflow_with_kills
from selfexplore_tasks.store.home import Store
from stage_kills import Tally, run_with_kills
from subject import Subject, compare

# Seconds of the stages that are worth a kill; the others end too soon.
SECONDS = {
    **{"prepare": 3.0, "sft": 12.0, "evaluate": 5.0, "sample": 8.0, "rft": 12.0, "sample_explorer": 8.0},
    **{"outcome_pairs": 2.0, "explore": 6.0, "granular_pairs": 2.0, "dpo": 6.0, "arms": 8.0},
}


@pytest.fixture
def subject(round_recipe: Path) -> Subject:
    return Subject("mini", str(round_recipe))


def test_killed_stages_leave_the_tables_of_an_undisturbed_run(
    subject: Subject, finished_store: Store, tmp_path: Path
) -> None:
    store, tally = Store(tmp_path / "store"), Tally(8)
    run_with_kills(store, subject, tally, seed=0, seconds=SECONDS, rounds=1)
    assert tally.victims.total() >= 4, tally
    assert compare(store, finished_store, subject.slug, 1) == []


def test_a_killed_worker_and_scheduler_leave_the_tables_of_an_undisturbed_run(
    subject: Subject, finished_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SELFEXPLORE_HOME", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back behind the test
    tally = Tally(2)
    store, last = run_airflow_with_kills(tmp_path, subject, tally, seed=0, only_round_zero=True)
    assert (last, dict(tally.victims)) == (0, {"worker": 1, "scheduler": 1})
    assert compare(store, finished_store, subject.slug, 0) == []
