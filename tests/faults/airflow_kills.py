"""SIGKILL for Airflow itself while it runs rounds: the worker of a running stage, the scheduler; and outages.

The heartbeat time-out is lowered, or Airflow would take five minutes to notice. What was killed is started again, as a
supervisor would do; the workers that a scheduler left go on meanwhile, so that a stage's next try meets the one before.
In an outage the API server is gone, or the metadata database takes no writes, for longer than the heartbeat time-out.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psutil

from selfexplore_tasks.airflow_api import ApiError
from selfexplore_tasks.local_airflow import ROUND_DAG, LocalAirflow, free_port
from selfexplore_tasks.planning import reason_to_end
from selfexplore_tasks.processes import ProcessIdentity
from selfexplore_tasks.store.control import pause
from selfexplore_tasks.store.experiments import last_round
from selfexplore_tasks.store.home import Store
from stage_kills import Tally, Victim
from subject import Subject

QUICK = {
    "scheduler": {
        "task_instance_heartbeat_timeout": "15",
        "task_instance_heartbeat_timeout_detection_interval": "2",
        "scheduler_health_check_threshold": "10",
        "orphaned_tasks_check_interval": "5",
    },
    "workers": {"min_heartbeat_interval": "3"},
}
COMPONENTS = ("api-server", "scheduler", "dag-processor")
OUTAGE_S = 20.0
WAIT_S = 1_800


def run_airflow_with_kills(
    folder: Path, subject: Subject, tally: Tally, *, seed: int, outages: int = 0, only_round_zero: bool = False
) -> tuple[Store, int]:
    """Let a private Airflow run rounds, from one trigger, until every kill has happened.

    Half of the kills are of a running stage's worker, half of the scheduler while a stage runs, each in another stage;
    ``outages`` (of the API server and the database in turn) are among the tally's kills. Returns the store, and the
    last round, finished.
    """
    store = Store(folder / "store")
    os.environ["SELFEXPLORE_HOME"] = str(store.root)
    os.environ["OMP_NUM_THREADS"] = "1"
    airflow = LocalAirflow(folder / "airflow", free_port(), QUICK)
    airflow.start(COMPONENTS)
    try:
        conf = {"experiment": subject.slug, "recipe": subject.recipe, "overrides": subject.overrides}
        airflow.api.trigger(ROUND_DAG, "one-trigger", conf)
        _until(store.experiment_file(subject.slug).exists, "the experiment")
        if only_round_zero:
            pause(store, subject.slug, who="the fault test", why="one round will do")
        _kill_until_done(store, airflow, subject.slug, tally, random.Random(seed), outages)
        pause(store, subject.slug, who="the fault test", why="every kill has happened")
        _until(lambda: _is_over(airflow), "the end of the last round")
    finally:
        airflow.stop()
    last = last_round(store, subject.slug)
    assert last is not None, "not even round 0 was finished"
    return store, last


def _kill_until_done(
    store: Store, airflow: LocalAirflow, slug: str, tally: Tally, source: random.Random, outages: int
) -> None:
    kills = tally.wanted - outages
    order: list[Victim] = ["worker", "scheduler"] * (kills // 2) + ["worker"] * (kills % 2)
    order += (["api-server", "database"] * outages)[:outages]
    source.shuffle(order)
    disturbed: set[str] = set()
    deadline = time.monotonic() + WAIT_S
    while order:
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for a stage to kill; {len(order)} kills are left"
        time.sleep(source.uniform(0.2, 3.0))
        _supervise(airflow)
        done = last_round(store, slug)
        reason = None if done is None else reason_to_end(store, slug, done)
        assert reason is None, f"the experiment ended before {len(order)} kills: {reason}"
        for label, launcher in _running_stages(store, slug).items():
            if label not in disturbed and _disturb(airflow, order[-1], launcher, source):
                disturbed.add(label)
                tally.count(order[-1], label.split()[1])
                print(f"{order.pop()} during {label}", flush=True)
                break


def _disturb(airflow: LocalAirflow, victim: Victim, launcher: psutil.Process, source: random.Random) -> bool:
    """Kill the victim, or take it away for a while; returns whether it was there."""
    if victim == "worker":
        return _kill_worker(launcher, airflow.components()["scheduler"].pid)
    if victim == "database":
        with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=60, isolation_level=None)) as database:
            database.execute("begin exclusive")
            time.sleep(OUTAGE_S)
            database.execute("rollback")
    else:
        process = airflow.components()[victim].find()
        if process is None:
            return False
        process.kill()
        time.sleep(OUTAGE_S if victim == "api-server" else source.uniform(0.0, 5.0))
    return True


def _supervise(airflow: LocalAirflow) -> None:
    """Start again what has ended: the scheduler gives up some seconds after the database did."""
    for name in COMPONENTS:
        if airflow.components()[name].find() is None:
            airflow.restart(name)


def _kill_worker(launcher: psutil.Process, scheduler: int) -> bool:
    """Kill Airflow's worker process above a stage's launcher: the one whose parent is the scheduler."""
    with suppress(psutil.NoSuchProcess):
        for process in launcher.parents():
            if process.ppid() == scheduler:
                process.kill()
                return True
    return False


def _running_stages(store: Store, slug: str) -> dict[str, psutil.Process]:
    """The launcher of each running stage of the experiment, by round and stage: ``round=1 sample``."""
    found = {}
    for record in store.lock_dir(slug).glob("*.pgid"):
        with suppress(FileNotFoundError, ValueError):  # the stage ends now, or has just begun
            launcher = ProcessIdentity(**json.loads(record.read_text(encoding="utf-8"))["launcher"]).find()
            if launcher is not None:
                round_text, stage = record.stem.split("-")[:2]
                found[f"round={int(round_text)} {stage}"] = launcher
    return found


def _is_over(airflow: LocalAirflow) -> bool:
    _supervise(airflow)
    try:
        runs = airflow.api.call("GET", f"/dags/{ROUND_DAG}/dagRuns")["dag_runs"]
    except ApiError:
        return False  # the server is still starting
    states = {run["dag_run_id"]: run["state"] for run in runs}
    failed = sorted(name for name, state in states.items() if state == "failed")
    assert not failed, f"a kill ended a Dag run for good: {failed}"
    return set(states.values()) == {"success"}


def _until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for {what}"
        time.sleep(1.0)
