"""A round on two worker hosts, one of which dies in the middle: the tables are those of one machine.

Real PostgreSQL, Redis and S3 servers, Airflow's five components and two Celery workers, all on 127.0.0.1.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cluster_hosts import Cluster, Host
from cluster_services import DOCKER, Services, missing_programs
from selfexplore_tasks.local_airflow import ROUND_DAG
from selfexplore_tasks.planning import round_run_id
from selfexplore_tasks.store.control import pause
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest
from selfexplore_tasks.store.shared import shared_copy
from stage_kills import run_undisturbed
from subject import TINY, compare

HOSTS = ("host-1", "host-2")
SHARDS = 4
# Many small chunks: every shard has several of them to lose.
SAMPLING = {"sample.problems_per_round": 100, "sample.n": 6, "sample.chunk_size": 4}
SUBJECT = replace(TINY, overrides={**TINY.overrides, **SAMPLING, "shards": SHARDS})
ROUND_S = 900

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3_600),
    pytest.mark.skipif(bool(missing_programs()), reason=f"needs Debian's {' and '.join(missing_programs())}"),
]


def make_secrets(folder: Path) -> Path:
    secrets = folder / "secrets"
    secrets.mkdir()
    for name in ("s3_access_key", "s3_secret_key"):  # a person writes them
        (secrets / name).write_text(f"test-{name}", encoding="utf-8")
    subprocess.run([str(DOCKER / "bin" / "make-secrets"), str(secrets)], check=True, capture_output=True)
    return secrets


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Not pytest's own folder: PostgreSQL's user may not look into that one.
    with tempfile.TemporaryDirectory(prefix="selfexplore-cluster-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        services, one = Services(folder, make_secrets(folder)), None
        try:
            one = Cluster(folder, services)
            one.start_control()
            for host in HOSTS:
                one.start_worker(host)
            yield one
        finally:
            if one is not None:
                one.stop()
            services.stop_all()


@pytest.fixture
def store(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The shared store, seen from a machine of its own."""
    for name, value in cluster.shared.items():
        if name.startswith(("AWS_", "SELFEXPLORE_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("SELFEXPLORE_CACHE", str(tmp_path / "cache"))
    return Store.opened()


@pytest.mark.parametrize("service", ["api-server", "scheduler", "dag-processor", "triggerer", "worker"])
def test_the_health_checks_of_the_containers_find_native_processes_healthy(cluster: Cluster, service: str) -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    kind, command = compose["services"][service]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    command = command.replace("$$", "$")
    host, name = (cluster.workers["host-2"], "host-2") if service == "worker" else (cluster.control, "control")
    until(lambda: host.succeeds(command, HOSTNAME=name), f"the {service} to be healthy", 60)
    if service == "worker":
        assert not host.succeeds(command, HOSTNAME="host-3")


def test_a_host_dies_in_the_middle_of_sampling(cluster: Cluster, store: Store, tmp_path: Path) -> None:
    first, second = (cluster.workers[name] for name in HOSTS)
    conf = {"experiment": SUBJECT.slug, "recipe": SUBJECT.recipe, "overrides": SUBJECT.overrides}
    cluster.api.trigger(ROUND_DAG, "round-0", conf)
    assert cluster.wait("round-0", ROUND_S) == "success"
    store.refresh()
    run_id = round_run_id(load_experiment(store, SUBJECT.slug), 1)

    until(lambda: both_sample(store, first, second), "both hosts to sample")
    first.lose_power()
    assert not is_sampled(store), "sampling was over before the host was killed"
    pause(store, SUBJECT.slug, who="the cluster test", why="one round will do")
    lost = logged_shards(first.folder.with_name("host-1-lost"), run_id)
    assert lost, "the host that died had no shard"
    until(lambda: is_sampled(store), "the other host to finish sampling")
    again = {(shard, attempt) for shard, attempt in logged_shards(second.folder, run_id) if attempt > 1}
    assert {shard for shard, _ in again} <= {shard for shard, _ in lost}
    assert again, "no shard of the host that died was tried again elsewhere"

    cluster.start_worker("host-1")
    assert cluster.wait(run_id, ROUND_S) == "success"
    calm = Store(tmp_path / "calm")
    store.refresh()
    run_undisturbed(calm, replace(SUBJECT, overrides={**SUBJECT.overrides, "shards": 1}), 1)
    assert compare(store, calm, SUBJECT.slug, 1) == []
    # The API server, which has no torch, shows it all.
    page = cluster.page(f"/experiments/{SUBJECT.slug}")
    assert [one["round"] for one in page["rounds"]] == [0, 1]


def both_sample(store: Store, *hosts: Host) -> bool:
    """Whether both hosts sample round 1, and something of it is done."""
    if not all(host.running_stage("sample", 1) for host in hosts):
        return False
    copy = shared_copy(store.root)
    assert copy is not None
    # What no manifest names yet is in the bucket only.
    return bool(copy.remote.list(f"tables/rationales/experiment={SUBJECT.slug}/round=001", "part-sample-"))


def is_sampled(store: Store) -> bool:
    store.refresh()
    return read_manifest(store, SUBJECT.slug, 1, "sample") is not None


def logged_shards(folder: Path, run_id: str) -> set[tuple[int, int]]:
    """Shard and attempt of every task `sample` that ran on the host with this folder."""
    logs = folder / "airflow" / "logs" / f"dag_id={ROUND_DAG}" / f"run_id={run_id}" / "task_id=sample"
    return {
        (int(path.parent.name.removeprefix("map_index=")), int(path.stem.removeprefix("attempt=")))
        for path in logs.glob("map_index=*/attempt=*.log")
    }


def until(is_so: Callable[[], bool], what: str, seconds: float = ROUND_S) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)
