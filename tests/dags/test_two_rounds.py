"""Two tiny rounds in a real Airflow with the real stages: triggered once, by REST, like any user's run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq
import pytest

from selfexplore_tasks.airflow_api import ApiError, TaskState
from selfexplore_tasks.local_airflow import ROUND_DAG, STAGE_SERVER, LocalAirflow, free_port, has_stage_server
from selfexplore_tasks.planning import round_run_id
from selfexplore_tasks.processes import ProcessIdentity
from selfexplore_tasks.stages.names import ROUND_STAGES, ROUND_ZERO_STAGES, SHARDED_STAGES
from selfexplore_tasks.store.experiments import last_round, load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest

RECIPE = """
name: two-rounds
description: The smallest recipe whose model solves some problems and not others.
seed: 1
max_rounds: 2
shards: 2
problems:
  train: {kind: arithmetic, count: 460, min_steps: 1, max_steps: 2, max_value: 12}
  dev_count: 30
  test_count: 30
  rationale_count: 340
model:
  scratch: {hidden_size: 64, layers: 2, heads: 2, intermediate_size: 128, vocab_size: 384, context_length: 160}
sft: {epochs: 8, learning_rate: 0.004, batch_size: 16, micro_batch_size: 16, max_length: 156}
sample: {n: 4, max_new_tokens: 70, chunk_size: 32, problems: answers_only}
pairs: {problems: answers_only}
rft: {learning_rate: 0.001, batch_size: 16, micro_batch_size: 16, max_length: 156, later_rounds: policy}
explore: {k: 2, max_new_tokens: 70, chunk_size: 32}
dpo: {epochs: 1, batch_size: 8, micro_batch_size: 8, max_length: 156}
evaluate: {max_new_tokens: 70, chunk_size: 64}
gate: {max_regression: null}  # thirty problems tell little
engine: {kind: transformers, threads: 1, batch_size: 64}
"""
SLUG = "two-rounds"
ROUND_SECONDS = 300


@dataclass(frozen=True)
class Site:
    """A running Airflow and the store its tasks write to."""

    airflow: LocalAirflow
    store: Store

    def wait(self, run_id: str) -> str:
        """Return the final state of a Dag run."""
        deadline = time.monotonic() + ROUND_SECONDS
        while time.monotonic() < deadline:
            state = self.airflow.api.run_state(ROUND_DAG, run_id)
            if state in ("success", "failed"):
                return state
            time.sleep(0.5)
        pytest.fail(f"{run_id} did not end within {ROUND_SECONDS} s")

    def run(self, run_id: str, **conf: object) -> str:
        self.airflow.api.trigger(ROUND_DAG, run_id, {"experiment": SLUG, **conf})
        return self.wait(run_id)

    def tasks(self, run_id: str) -> list[TaskState]:
        return self.airflow.api.task_states(ROUND_DAG, run_id)

    def log(self, run_id: str, task_id: str) -> str:
        folder = self.airflow.home / "logs" / f"dag_id={ROUND_DAG}" / f"run_id={run_id}" / f"task_id={task_id}"
        return (folder / "attempt=1.log").read_text(encoding="utf-8")

    def rows(self, table: str, round_number: int) -> int:
        folder = self.store.table_dir(table, SLUG, round_number)
        return sum(pq.read_metadata(part).num_rows for part in folder.glob("part-*.parquet"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Airflow after three Dag runs: round 0, which was triggered, and the two rounds that followed by themselves."""
    folder = tmp_path_factory.mktemp("site")
    recipe = folder / "two-rounds.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFEXPLORE_HOME", str(folder / "store"))
        patch.setenv("OMP_NUM_THREADS", "1")
        site = Site(LocalAirflow(folder / "airflow", free_port()), Store(folder / "store"))
        site.airflow.start(("api-server", "scheduler", "dag-processor"))
        try:
            assert site.run("first", recipe=str(recipe)) == "success"
            experiment = load_experiment(site.store, SLUG)
            for number in (1, 2):
                assert site.wait(round_run_id(experiment, number)) == "success"
            yield site
        finally:
            site.airflow.stop()


def run_of(site: Site, round_number: int) -> str:
    return "first" if round_number == 0 else round_run_id(load_experiment(site.store, SLUG), round_number)


def test_every_round_ran_its_stages(site: Site) -> None:
    for number, stages in ((0, ROUND_ZERO_STAGES), (1, ROUND_STAGES), (2, ROUND_STAGES)):
        states = {(task.task_id, task.map_index): task.state for task in site.tasks(run_of(site, number))}
        for stage in stages:
            shards = (0, 1) if stage in SHARDED_STAGES else (-1,)
            assert [states[stage, shard] for shard in shards] == ["success"] * len(shards)
            assert read_manifest(site.store, SLUG, number, stage) is not None
    assert last_round(site.store, SLUG) == 2


def test_every_table_has_rows(site: Site) -> None:
    assert site.rows("problems", 0) == 460
    for number in (1, 2):
        assert site.rows("rationales", number) == 60 * 4
        for table in ("rft_examples", "rollouts", "first_pits", "pairs", "evaluations", "scores", "rounds"):
            assert site.rows(table, number) > 0, table


def test_no_round_follows_the_last_one(site: Site) -> None:
    states = {task.task_id: task.state for task in site.tasks(run_of(site, 2))}
    assert (states["plan_next"], states["next_round"]) == ("success", "skipped")


def test_task_logs_show_progress(site: Site) -> None:
    assert "sft: 170/170 steps (100%)" in site.log("first", "sft")


def test_xcoms_carry_ids_and_counts_only(site: Site) -> None:
    path = f"/dags/{ROUND_DAG}/dagRuns/{run_of(site, 1)}/taskInstances/rft_set/xcomEntries/return_value"
    manifest = read_manifest(site.store, SLUG, 1, "rft_set")
    assert manifest is not None
    assert site.airflow.api.call("GET", path)["value"] in (manifest.row_counts, str(manifest.row_counts))


def test_pools_are_ours(site: Site) -> None:
    pools = site.airflow.api.call("GET", "/pools")["pools"]
    slots = {pool["name"]: pool["slots"] for pool in pools}
    assert slots["duckdb"] == 4
    assert slots["gpu"] >= 1


@pytest.mark.parametrize(
    ("conf", "reason"),
    [
        ({}, "ended with round 2 (max_rounds=2 reached)"),
        ({"round": 0}, "Round 0 of 'two-rounds' has a successor"),
        ({"recipe": "arithmetic-tiny"}, "made with another recipe"),
        ({"recipe": "no-such-recipe"}, "There is no recipe 'no-such-recipe'"),
    ],
)
def test_what_cannot_run_fails_at_once_and_says_why(site: Site, conf: dict[str, object], reason: str) -> None:
    run_id = f"refused-{abs(hash(reason))}"
    assert site.run(run_id, **conf) == "failed"
    opened = next(task for task in site.tasks(run_id) if task.task_id == "open_experiment")
    assert (opened.state, opened.try_number) == ("failed", 1)
    assert reason in site.log(run_id, "open_experiment")


@pytest.mark.parametrize("conf", [{"experiment": "../x"}, {"temperature": 9}, {"shards": 0}, {"seed": "one"}])
def test_the_form_refuses_values_out_of_range(site: Site, conf: dict[str, object]) -> None:
    with pytest.raises(ApiError) as refusal:
        site.run("never", **conf)
    assert refusal.value.status == 400


def server_log(site: Site) -> list[str]:
    return (site.airflow.home / "components" / f"{STAGE_SERVER}.log").read_text(encoding="utf-8").splitlines()


@pytest.mark.skipif(not has_stage_server(), reason="needs a machine for a stage server")
def test_stages_are_forks_of_a_server_that_is_started_again(site: Site) -> None:
    """Those of round 0 may have come before it had imported everything."""
    for number in (1, 2):
        for stage in ROUND_STAGES:
            line = f"stage {stage} --experiment {SLUG} --round {number}"
            shards = [f" --shard {shard}/2" for shard in (1, 2)] if stage in SHARDED_STAGES else [""]
            assert [server_log(site).count(f"{line}{shard}") for shard in shards] == [1] * len(shards)
    server = site.airflow.components()[STAGE_SERVER].find()
    assert server is not None
    server.kill()
    server.wait()
    assert site.airflow.start_ended() == [STAGE_SERVER]
    assert site.airflow.start_ended() == []
    while sum("Stages are forked" in line for line in server_log(site)) < 2:
        assert site.airflow.components()[STAGE_SERVER].find() is not None, server_log(site)
        time.sleep(0.2)


def test_stopping_leaves_no_process(site: Site) -> None:
    content = json.loads((site.airflow.home / "running.json").read_text(encoding="utf-8"))
    components = [ProcessIdentity(*identity) for identity in content["components"].values()]
    children = [child for found in map(ProcessIdentity.find, components) if found for child in found.children(True)]
    assert site.airflow.stop()
    assert not any(identity.find() for identity in components)
    assert not any(child.is_running() for child in children)
    assert not site.airflow.stop()
