"""A stage as an Airflow task: a subprocess whose lines become the task's log and whose exit code its state."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from selfexplore_tasks.launch import run_stage_process
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest

GPU_POOL, DUCKDB_POOL = "gpu", "duckdb"
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=10)}
DEADLINE_VARIABLE = "SELFEXPLORE_STAGE_DEADLINE_S"
USER_ERROR = 2

log = logging.getLogger(__name__)


@task
def run_stage(stage: str, plan: dict[str, Any], shard: str | None = None) -> dict[str, int]:
    """Run one stage of the planned round to its end; return its row counts (empty while other shards still work)."""
    last_lines: list[str] = []

    def pass_on(line: str) -> None:
        log.info("%s", line)
        last_lines[:] = [*last_lines[-4:], line]

    deadline = os.environ.get(DEADLINE_VARIABLE)
    code = run_stage_process(
        stage,
        experiment=plan["experiment"],
        round_number=plan["round"],
        shard=shard,
        deadline_s=float(deadline) if deadline else None,
        on_line=pass_on,
    )
    if code == USER_ERROR:
        sentence = next((line for line in reversed(last_lines) if line.startswith("error: ")), "see the lines above")
        raise AirflowFailException(f"stage {stage}: {sentence}")
    if code:
        raise AirflowException(f"stage {stage} ended with exit code {code}: " + " | ".join(last_lines))
    manifest = read_manifest(Store.from_environment(), plan["experiment"], plan["round"], stage)
    return dict(manifest.row_counts) if manifest else {}
