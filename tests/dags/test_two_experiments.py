"""Two experiments at once on one Airflow: each has the tables of its solo run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from selfexplore_tasks.local_airflow import ROUND_DAG, LocalAirflow, free_port
from selfexplore_tasks.planning import round_run_id
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store
from stage_kills import run_undisturbed
from subject import Subject, compare

WAIT_S = 900


@pytest.mark.slow
@pytest.mark.timeout(2 * WAIT_S)
def test_two_experiments_at_once_have_the_tables_of_their_solo_runs(
    round_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [Subject(f"seed-{seed}", str(round_recipe), {"seed": seed, "max_rounds": 1}) for seed in (1, 2)]
    alone, together = Store(tmp_path / "alone"), Store(tmp_path / "together")
    for subject in both:
        run_undisturbed(alone, subject, 1)
    monkeypatch.setenv("SELFEXPLORE_HOME", str(together.root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    airflow = LocalAirflow(tmp_path / "airflow", free_port())
    airflow.start(("api-server", "scheduler", "dag-processor"))
    try:
        for subject in both:
            conf = {"experiment": subject.slug, "recipe": subject.recipe, "overrides": subject.overrides}
            airflow.api.trigger(ROUND_DAG, subject.slug, conf)
        for subject in both:
            _wait(airflow, subject.slug)
            _wait(airflow, round_run_id(load_experiment(together, subject.slug), 1))
    finally:
        airflow.stop()
    for subject in both:
        assert compare(together, alone, subject.slug, 1) == []


def _wait(airflow: LocalAirflow, run_id: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while (state := airflow.api.run_state(ROUND_DAG, run_id)) != "success":
        assert state != "failed" and time.monotonic() < deadline, f"{run_id}: {state}"
        time.sleep(1.0)
