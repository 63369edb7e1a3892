"""The daily Dag in a real Airflow: one task that tidies every experiment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selfexplore_tasks.store.experiments import open_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifests

DAGS = Path(__file__).parents[2] / "dags"
SHAPE = """
import sys
from airflow.dag_processing.dagbag import DagBag
dag = DagBag(sys.argv[1], bundle_path=sys.argv[1]).dags["selfexplore_housekeeping"]
print(dag.schedule, dag.catchup, dag.max_active_runs, [(task.task_id, task.pool) for task in dag.tasks])
"""


@pytest.fixture(scope="module")
def airflow_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    return env | {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "PYTHONPATH": str(DAGS),
    }


def run(env: dict[str, str], *command: str) -> str:
    result = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_one_task_a_day_and_never_two_runs(airflow_env: dict[str, str]) -> None:
    shape = run(airflow_env, "-c", SHAPE, str(DAGS)).splitlines()[-1]
    assert shape == "@daily False 1 [('free_space', 'duckdb')]"


def test_it_tidies_the_store(airflow_env: dict[str, str], finished_store: Store, tmp_path: Path) -> None:
    store = Store(Path(shutil.copytree(finished_store.root, tmp_path / "store", symlinks=True)))
    open_experiment(store, "mini", None, {"retention.keep_rounds": 0})
    env = {**airflow_env, "SELFEXPLORE_HOME": str(store.root)}
    run(env, "-m", "airflow", "db", "migrate")
    run(env, "-m", "airflow", "pools", "set", "duckdb", "1", "tidy")
    log = run(env, "-m", "airflow", "dags", "test", "selfexplore_housekeeping")
    assert "state=success" in log and "mini: models:" in log
    assert not store.model_dir("mini", "1/continued_rft").exists()
    assert all(len(names) == 1 for one in read_manifests(store, "mini") for names in one.parts.values())
