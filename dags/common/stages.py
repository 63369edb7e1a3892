"""A stage as an Airflow task: a subprocess whose lines become the task's log and whose exit code its state."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from common.alerts import send_alert
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.failures import ExitCode, StalledError, failure_of
from selfexplore_tasks.launch import run_stage_process
from selfexplore_tasks.stages.redo import acknowledge, redo_if_cleared
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest
from selfexplore_tasks.store.shared.remote import StoreUnreachable

GPU_POOL, DUCKDB_POOL = "gpu", "duckdb"
GPU_QUEUE_VARIABLE, GPU_POD_VARIABLE = "SELFEXPLORE_GPU_QUEUE", "SELFEXPLORE_GPU_POD_TEMPLATE"
DEADLINE_VARIABLE = "SELFEXPLORE_STAGE_DEADLINE_S"
CONNECTION_DELAY = timedelta(minutes=1)
NOT_AGAIN = (ExitCode.USER_ERROR, ExitCode.STORE_LOST, ExitCode.BAD_DATA)
"""Nothing changes these by itself; once a person has, clearing the task or triggering the round goes on."""

log = logging.getLogger(__name__)


class OutOfMemoryError(AirflowException):
    """The stage ran out of memory; the next try takes smaller batches."""


class ConnectionLostError(AirflowException):
    """The network failed the stage."""


RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "retry_policy": ExceptionRetryPolicy(
        rules=[
            RetryRule(UserError, RetryAction.FAIL, reason="the user's error stays one"),
            RetryRule(OutOfMemoryError, RetryAction.RETRY, reason="memory ran out: again with smaller batches"),
            RetryRule(ConnectionLostError, RetryAction.RETRY, CONNECTION_DELAY, reason="the connection was lost"),
            RetryRule(StoreUnreachable, RetryAction.RETRY, CONNECTION_DELAY, reason="the store does not answer"),
            RetryRule(StalledError, RetryAction.RETRY, reason="no progress: again from the last chunk"),
        ]
    ),
}


def gpu_place() -> dict[str, Any]:
    """Operator arguments of a stage that generates or trains: its pool; with workers elsewhere, their queue or pod."""
    place: dict[str, Any] = {"pool": GPU_POOL}
    if queue := os.environ.get(GPU_QUEUE_VARIABLE):
        place["queue"] = queue
    if template := os.environ.get(GPU_POD_VARIABLE):
        place["executor_config"] = {"pod_template_file": template}
    return place


_done: list[dict[str, Any]] = []
"""What this process has run to its end and Airflow has not been told yet."""


def acknowledge_success(context: Any) -> None:
    """An ``on_success_callback``: only a task that Airflow knows to have succeeded can have been cleared later."""
    while _done:
        acknowledge(Store.from_environment(), **_done.pop())


@task(on_success_callback=acknowledge_success)
def run_stage(stage: str, plan: dict[str, Any], shard: str | None = None) -> dict[str, int]:
    """Run one stage of the planned round to its end; return its row counts (empty while other shards still work).

    A task that succeeded before and was cleared redoes its stage, and forgets what depends on it.
    """
    context, store = get_current_context(), Store.opened(plan["experiment"])
    place = {"slug": plan["experiment"], "round_number": plan["round"], "stage": stage}
    attempt = {**place, "shard": shard, "run_id": context["run_id"], "try_number": context["ti"].try_number}
    try:
        if redo_if_cleared(store, **attempt):
            log.info("this task was cleared: its stage is done anew, and what depends on it was forgotten")
        _run(stage, plan, shard)
        _done.append(attempt)
    except StalledError as error:
        send_alert("stalled", f"stage {stage}: {error}", context)
        raise
    except UserError as error:
        raise AirflowFailException(f"stage {stage}: {error}") from error
    except OSError as error:
        failure = failure_of(error, store.root)
        if failure is None or failure[0] not in NOT_AGAIN:
            raise
        raise AirflowFailException(f"stage {stage}: {failure[1]}") from error
    manifest = read_manifest(store, **place)
    return dict(manifest.row_counts) if manifest else {}


def _run(stage: str, plan: dict[str, Any], shard: str | None) -> None:
    """Run the stage's process; an exit code other than 0 becomes the exception that says what is tried again."""
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
    if code == ExitCode.DONE:
        return
    sentence = next((line for line in reversed(last_lines) if line.startswith("error: ")), "see the lines above")
    if code in NOT_AGAIN:
        raise AirflowFailException(f"stage {stage}: {sentence}")
    if code == ExitCode.OUT_OF_MEMORY:
        raise OutOfMemoryError(f"stage {stage}: {sentence}")
    if code == ExitCode.CONNECTION_LOST:
        raise ConnectionLostError(f"stage {stage}: {sentence}")
    raise AirflowException(f"stage {stage} ended with exit code {code}: " + " | ".join(last_lines))
