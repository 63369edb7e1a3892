"""What happens between people and rounds, in a real Airflow: approval, benchmarks, schedules, alerts, pushes, clearing.

The rounds are made by hand up to the gate, so their stages return at once and the decisions are known beforehand.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from hand_rounds import COUNT, DEV, SLUG, HandRounds
from local_hub import TOKEN, local_hub
from selfexplore_tasks.airflow_api import ApiError, TaskState
from selfexplore_tasks.local_airflow import ROUND_DAG, LocalAirflow, free_port
from selfexplore_tasks.planning import round_run_id
from selfexplore_tasks.store.approvals import read_approval
from selfexplore_tasks.store.champions import champion
from selfexplore_tasks.store.control import cancel, read_control
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest

WAIT_S = 400
ANSWER_WITHIN_S = 90


@dataclass(frozen=True)
class Site:
    """A running Airflow, an experiment whose round 0 is finished, the alerts it sent, and the Hub it pushes to."""

    airflow: LocalAirflow
    hand: HandRounds
    alerts: list[dict[str, Any]]
    hub: Any

    def trigger(self, run_id: str, dag_id: str = ROUND_DAG, **conf: object) -> None:
        self.airflow.api.trigger(dag_id, run_id, {"experiment": SLUG, **conf} if dag_id == ROUND_DAG else conf)

    def wait(self, run_id: str, wanted: str = "success", dag_id: str = ROUND_DAG) -> None:
        self.until(lambda: self.airflow.api.run_state(dag_id, run_id) in ("success", "failed"), f"the end of {run_id}")
        assert self.airflow.api.run_state(dag_id, run_id) == wanted

    def until(self, is_so: Any, what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not is_so():
            assert time.monotonic() < deadline, f"waited {WAIT_S} s for {what}"
            time.sleep(0.5)

    def task(self, run_id: str, task_id: str) -> TaskState:
        return next(task for task in self.airflow.api.task_states(ROUND_DAG, run_id) if task.task_id == task_id)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path, round_recipe: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("unattended")
    alerts: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            alerts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch, local_hub() as hub:
        patch.setenv("SELFEXPLORE_HOME", str(folder / "store"))
        patch.setenv("SELFEXPLORE_START_SCHEDULE", "* * * * *")
        patch.setenv("SELFEXPLORE_START", f"ticked={round_recipe}")
        patch.setenv("SELFEXPLORE_APPROVAL_TIMEOUT_S", str(ANSWER_WITHIN_S))
        patch.setenv("SELFEXPLORE_PUSH_REPO", "me/{experiment}")
        patch.setenv("SELFEXPLORE_HUB_CONN", "hub")
        patch.setenv("AIRFLOW_CONN_HUB", json.dumps({"conn_type": "generic", "password": TOKEN}))
        patch.setenv("HF_ENDPOINT", hub.endpoint)
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        for name in ("HF_TOKEN", "HUGGINGFACE_TOKEN", "HF_HUB_OFFLINE"):
            patch.delenv(name, raising=False)
        patch.setenv("SELFEXPLORE_ALERT_HTTP_CONN", "hook")
        hook = {"conn_type": "http", "host": f"http://127.0.0.1:{server.server_port}"}
        patch.setenv("AIRFLOW_CONN_HOOK", json.dumps(hook))
        hand = HandRounds.begin(Store(folder / "store"))
        shutil.copytree(tiny_model_dir, hand.store.model_dir(SLUG, "1/policy"))
        airflow = LocalAirflow(folder / "airflow", free_port())
        airflow.start(("api-server", "scheduler", "dag-processor"))
        try:
            yield Site(airflow, hand, alerts, hub)
        finally:
            airflow.stop()
            server.shutdown()


@pytest.fixture(scope="module")
def approved(site: Site) -> str:
    """Round 1 of an experiment that wants every promotion approved, after a person said yes; its Dag run id."""
    site.hand.change_recipe(gate={"require_approval": True})
    site.hand.round(1, {DEV: 30})
    site.trigger("one", max_rounds=2)
    site.until(lambda: site.task("one", "approve").state == "awaiting_input", "the approval step")
    path = f"/dags/{ROUND_DAG}/dagRuns/one/taskInstances/approve/-1/hitlDetails"
    asked = site.airflow.api.call("GET", path)
    assert asked["subject"] == f"Promote 1/policy of {SLUG}?"
    assert "+25.0 points on 40 dev problems" in asked["body"]
    assert read_manifest(site.hand.store, SLUG, 1, "summarize") is None
    site.hand.round(2, {DEV: 30})  # what follows is made by hand too
    time.sleep(5)

    def is_answered() -> bool:
        # Airflow 3.3.2 tries the step again, and asks anew, if the answer comes before its scheduler saw it pause.
        if site.task("one", "approve").state == "awaiting_input":
            with suppress(ApiError):  # answered already
                site.airflow.api.call("PATCH", path, {"chosen_options": ["Approve"], "params_input": {}})
        return site.task("one", "record_approval").state == "success"

    site.until(is_answered, "the answer")
    site.wait("one")
    return "one"


def test_an_approved_candidate_becomes_the_champion(site: Site, approved: str) -> None:
    approval = read_approval(site.hand.store, SLUG, 1)
    assert approval is not None
    assert (approval.approved, approval.who) == (True, "admin")
    entry = champion(site.hand.store, SLUG)
    assert (entry.model_id, entry.round) == ("1/policy", 1)
    assert entry.why.endswith("approved by admin: in Airflow")


def test_a_promotion_starts_the_benchmarks(site: Site, approved: str) -> None:
    row = {"model_id": "1/policy", "split": "test", "problem_count": COUNT}
    query = "select model_id, split, problem_count from scores where benchmark = 'other'"
    site.until(lambda: row in site.hand.rows(query), "the benchmarks")


def test_a_promotion_pushes_the_champion_with_the_token_of_a_connection(site: Site, approved: str) -> None:
    # The champion of the scheduled experiment may be pushed before.
    site.until(lambda: f"{SLUG}: 1/policy" in site.hub.messages, "the push")
    assert {repo["visibility"] for repo in site.hub.created} == {"private"}
    assert site.hub.files["model.safetensors"]
    texts = [path.read_bytes() for path in (site.airflow.home / "logs").rglob("*.log")]
    assert texts and not any(TOKEN.encode() in text for text in texts)


def test_a_cron_tick_starts_a_new_experiment(site: Site) -> None:
    site.until(lambda: site.hand.store.experiment_file("ticked").exists(), "the first minute")
    runs = site.airflow.api.call("GET", "/dags/selfexplore_start/dagRuns")["dag_runs"]
    assert "scheduled" in {run["run_type"] for run in runs}

    def started() -> int:
        runs = site.airflow.api.call("GET", f"/dags/{ROUND_DAG}/dagRuns")["dag_runs"]
        # Rounds that follow name no recipe.
        return sum(run["conf"]["experiment"] == "ticked" and "recipe" in run["conf"] for run in runs)

    site.until(lambda: started() == 1, "one start of the experiment")
    cancel(site.hand.store, "ticked", who="the test", why="seen enough")
    control = read_control(site.hand.store, "ticked")
    assert control is not None and control.state == "cancelled"


def test_the_end_of_an_experiment_is_told(site: Site, approved: str) -> None:
    site.until(lambda: any(alert["event"] == "finished" for alert in site.alerts), "the alert")
    alert = next(alert for alert in site.alerts if alert["event"] == "finished")
    assert (alert["experiment"], alert["round"]) == (SLUG, 2)
    assert "max_rounds=2 reached" in alert["text"]


def test_a_scheduled_start_leaves_an_ended_experiment_alone(site: Site, approved: str) -> None:
    site.until(lambda: read_manifest(site.hand.store, SLUG, 2, "summarize") is not None, "round 2")
    site.trigger("scheduled", "selfexplore_start", experiments=f"{SLUG}=arithmetic-tiny")
    site.wait("scheduled", dag_id="selfexplore_start")
    states = site.airflow.api.task_states("selfexplore_start", "scheduled")
    assert [task.state for task in states if task.task_id == "start"] == ["skipped"]


def test_a_cleared_task_redoes_its_stage_and_what_depends_on_it(site: Site, approved: str) -> None:
    site.until(lambda: read_manifest(site.hand.store, SLUG, 2, "summarize") is not None, "round 2")
    last = round_run_id(load_experiment(site.hand.store, SLUG), 2)
    site.wait(last)
    before = {stage: read_manifest(site.hand.store, SLUG, 2, stage) for stage in ("evaluate", "gate", "summarize")}
    what = {"dag_run_id": last, "task_ids": ["gate"], "include_downstream": True, "only_failed": False}
    site.airflow.api.call("POST", f"/dags/{ROUND_DAG}/clearTaskInstances", {**what, "dry_run": False})
    site.until(lambda: site.airflow.api.run_state(ROUND_DAG, last) != "success", "the run to go on")
    site.wait(last)
    after = {stage: read_manifest(site.hand.store, SLUG, 2, stage) for stage in before}
    assert after["evaluate"] == before["evaluate"]
    for stage in ("gate", "summarize"):
        one, other = before[stage], after[stage]
        assert one is not None and other is not None
        assert one.finished_at < other.finished_at, stage


def test_a_failure_is_told(site: Site) -> None:
    site.trigger("wrong", recipe="no-such-recipe")
    site.wait("wrong", "failed")
    site.until(lambda: any(alert["event"] == "failed" for alert in site.alerts), "the alert")
    texts = [alert["text"] for alert in site.alerts if alert["event"] == "failed"]
    assert any("There is no recipe 'no-such-recipe'" in text for text in texts)


def test_a_promotion_that_nobody_answers_takes_the_default(site: Site, approved: str) -> None:
    site.until(lambda: read_manifest(site.hand.store, SLUG, 2, "summarize") is not None, "round 2")
    site.hand.round(3, {DEV: 40})
    site.trigger("unanswered", max_rounds=3)
    site.wait("unanswered")
    approval = read_approval(site.hand.store, SLUG, 3)
    assert approval is not None
    assert (approval.approved, approval.who) == (False, "nobody in time")
    row = site.hand.rows("select decision, champion from rounds where round = 3")[0]
    assert row == {"decision": "rejected", "champion": "1/policy"}
