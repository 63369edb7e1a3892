"""The round Dag as Airflow parses it: fast, light, and shaped as the design says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
DAGS = REPOSITORY / "dags"

# In a process of its own: what earlier tests imported must not count, and Airflow must not see this process's settings.
PARSE = """
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
heavy = {"torch", "vllm", "trl", "transformers", "datasets", "duckdb"}
before = heavy & set(sys.modules)
started = time.process_time()
bag = DagBag(sys.argv[1], bundle_path=sys.argv[1])
seconds = time.process_time() - started
dag = bag.dags["selfexplore_round"]
print(json.dumps({
    "seconds": seconds,
    "before": sorted(before),
    "heavy": sorted(heavy & set(sys.modules)),
    "errors": bag.import_errors,
    "pools": {task.task_id: task.pool for task in dag.tasks},
    "queues": {task.task_id: task.queue for task in dag.tasks},
    "pods": {task.task_id: task.executor_config for task in dag.tasks},
    "retries": {task.task_id: task.retries for task in dag.tasks},
    "mapped": sorted(task.task_id for task in dag.tasks if task.is_mapped),
    "edges": sorted([task.task_id, other] for task in dag.tasks for other in task.downstream_task_ids),
    "params": {name: dag.params.get_param(name).schema for name in dag.params},
    "descriptions": {name: dag.params.get_param(name).description for name in dag.params},
    "doc": dag.doc_md,
}))
"""


@cache
def parsed(home: Path, gpu_queue: str = "", gpu_pod: str = "") -> dict[str, Any]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    env |= {"SELFEXPLORE_GPU_QUEUE": gpu_queue, "SELFEXPLORE_GPU_POD_TEMPLATE": gpu_pod}
    env |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": str(DAGS)}
    result = subprocess.run(
        [sys.executable, "-c", PARSE, str(DAGS)], env=env, capture_output=True, text=True, check=False, cwd=home
    )
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return parsed(tmp_path_factory.mktemp("airflow"))


def test_parsing_is_fast_and_light(dag: dict[str, Any]) -> None:
    assert dag["errors"] == {}
    assert dag["seconds"] < 2
    assert dag["heavy"] == dag["before"] == []


def test_stages_run_in_the_order_of_the_method(dag: dict[str, Any]) -> None:
    from selfexplore_tasks.stages.names import ROUND_STAGES, ROUND_ZERO_STAGES

    edges = {tuple(edge) for edge in dag["edges"]}
    for order in (ROUND_STAGES, ROUND_ZERO_STAGES):
        chain = (*order, "plan_next", "next_round")
        assert set(pairwise(chain)) <= edges
    assert {("choose_stages", "prepare"), ("choose_stages", "sample")} <= edges
    assert set(pairwise(("gate", "describe_promotion", "approve", "record_approval", "summarize"))) <= edges
    assert ("summarize", "publish_champion") in edges


def test_generating_and_training_go_to_the_workers_with_gpus(dag: dict[str, Any], tmp_path: Path) -> None:
    heavy = {task for task, pool in dag["pools"].items() if pool == "gpu"}
    elsewhere = parsed(tmp_path, "cards", "/pods/gpu.yaml")
    assert {task for task, queue in elsewhere["queues"].items() if queue == "cards"} == heavy
    assert {task for task, pod in elsewhere["pods"].items() if pod == {"pod_template_file": "/pods/gpu.yaml"}} == heavy
    assert set(elsewhere["queues"].values()) == {"default", "cards"}
    assert set(dag["queues"].values()) == {"default"} and not any(dag["pods"].values())


def test_pools_shards_and_retries(dag: dict[str, Any]) -> None:
    from selfexplore_tasks.stages.names import GENERATING_STAGES, SHARDED_STAGES, TRAINING_STAGES

    in_gpu_pool = {task for task, pool in dag["pools"].items() if pool == "gpu"}
    assert in_gpu_pool == {*GENERATING_STAGES, *TRAINING_STAGES} - {"benchmarks"}  # a Dag of its own
    assert dag["mapped"] == sorted(SHARDED_STAGES)
    assert set(dag["retries"].values()) == {2}


def test_every_field_of_the_form_is_explained(dag: dict[str, Any]) -> None:
    assert all(len(description) > 20 for description in dag["descriptions"].values())
    assert all(schema["title"] and schema["section"] for schema in dag["params"].values())
    assert [schema["section"] for schema in dag["params"].values()] == (
        ["Experiment"] * 3 + ["Method"] * 4 + ["Running"] * 4
    )
    assert "arithmetic-tiny" in dag["params"]["recipe"]["examples"]
    assert dag["doc"].strip().startswith("### One round of Self-Explore")


def test_form_and_store_agree_on_names() -> None:
    from common.params import SLUG_PATTERN
    from selfexplore_tasks.store.home import SLUG

    assert f"^{SLUG.pattern}$" == SLUG_PATTERN


def test_empty_fields_are_no_overrides() -> None:
    from common.params import RECIPE_FIELDS, recipe_overrides

    empty: dict[str, Any] = {**dict.fromkeys(RECIPE_FIELDS), "compare": False}
    assert recipe_overrides({**empty, "overrides": None}) == {}
    assert recipe_overrides({**empty, "temperature": 0.5, "seed": 0, "overrides": {"dpo.beta": 0.2, "seed": 9}}) == {
        "dpo.beta": 0.2,
        "seed": 0,
        "sample.temperature": 0.5,
        "explore.temperature": 0.5,
    }
    assert recipe_overrides({**empty, "overrides": None, "compare": True}) == {"compare": True}
