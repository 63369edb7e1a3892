"""Two rounds by three machines that share a store, one of them killed in the middle: the tables of a single machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s3_server import BUCKET, S3Server
from selfexplore_tasks.stages.names import SHARDED_STAGES, stages_of
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.schemas import TABLES

EXPERIMENT = "mini"
LEASE_S = 30
"""Longer than a stage takes to start: who comes next has to wait for it."""
WAIT_S = 300

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    with S3Server(tmp_path / "server.log") as running:
        running.make_bucket(BUCKET)
        yield running


def environment(server: S3Server, cache: Path) -> dict[str, str]:
    own = {"SELFEXPLORE_HOME": f"s3://{BUCKET}/store", "SELFEXPLORE_CACHE": str(cache)}
    return {**os.environ, **server.environment, **own, "SELFEXPLORE_LEASE_S": str(LEASE_S), "OMP_NUM_THREADS": "1"}


def start(server: S3Server, cache: Path, stage: str, number: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "selfexplore_tasks", "stage", stage, "--experiment", EXPERIMENT]
    return subprocess.Popen(
        [*command, "--round", str(number), *more],
        env=environment(server, cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, said
    return said


def kill_in_mid_chunk(server: S3Server, process: subprocess.Popen[str]) -> None:
    """End the process at once, as soon as it has written a chunk and holds the claim of another."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        keys = server.objects()
        if any("/claims/" in key for key in keys) and any("part-sample-" in key for key in keys):
            break
        time.sleep(0.05)
    process.kill()
    process.communicate()


@pytest.mark.timeout(1500)
def test_three_machines_make_the_tables_of_one(
    server: S3Server,
    tmp_path: Path,
    round_recipe: Path,
    finished_store: Store,
    rows_of: Callable[[Store, str], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b, c = (tmp_path / name for name in "abc")
    finish(start(server, a, "prepare", 0, "--recipe", str(round_recipe)))
    turns = [b, a]
    for number, stage in [(0, one) for one in stages_of(0)] + [(1, one) for one in stages_of(1)]:
        if stage == "sample":
            # Its first chunk there, the machine dies; another one takes its place while the third goes on.
            dying = start(server, a, stage, number, "--shard", "1/2")
            kill_in_mid_chunk(server, dying)
            shards = [start(server, one, stage, number, "--shard", f"{i}/2") for i, one in ((1, c), (2, b))]
            said = [finish(shard) for shard in shards]
            assert "waiting for 001-sample-0" in said[0]
        elif stage in SHARDED_STAGES:
            shards = [start(server, one, stage, number, "--shard", f"{i}/2") for i, one in ((1, a), (2, b))]
            for shard in shards:
                finish(shard)
        elif stage != "prepare":
            finish(start(server, turns[0], stage, number))
            turns.reverse()
    for name, value in environment(server, tmp_path / "reader").items():
        monkeypatch.setenv(name, value)
    shared = Store.opened()
    for table in TABLES:
        query = f"select * {'exclude (seconds)' if table == 'rounds' else ''} from {table}"
        assert rows_of(shared, query) == rows_of(finished_store, query), table
