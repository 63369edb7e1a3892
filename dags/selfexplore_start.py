"""
### Start experiments on a schedule

Off by default. Give the deployment a cron expression in `SELFEXPLORE_START_SCHEDULE` and a list of experiments with
their recipes in `SELFEXPLORE_START` (`nightly=gsm8k-qwen2.5-0.5b, toy=arithmetic-tiny`); or trigger it and fill in the
form.

Each due run starts an experiment that is new, goes on with one that is unfinished, and leaves alone one that runs, is
paused or has ended. There are never two rounds of one experiment at once.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from common.alerts import alert_failure
from common.runs import ROUND_DAG, first_unused, is_running
from common.stages import DUCKDB_POOL, RETRIES
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.planning import parse_starts, reason_not_to_start
from selfexplore_tasks.store.home import Store

SCHEDULE_VARIABLE = "SELFEXPLORE_START_SCHEDULE"
STARTS_VARIABLE = "SELFEXPLORE_START"

log = logging.getLogger(__name__)


@task(pool=DUCKDB_POOL)
def choose_experiments() -> list[dict[str, Any]]:
    """What each triggered round is given; experiments that are not due are left out, with the reason in the log."""
    context = get_current_context()
    store, due = Store.opened(), []
    try:
        starts = parse_starts(context["params"]["experiments"])
        reasons = {slug: reason_not_to_start(store, slug, is_running) for slug, _ in starts}
    except UserError as error:
        raise AirflowFailException(str(error)) from error
    for slug, recipe in starts:
        is_new = not store.experiment_file(slug).exists()
        run_id = first_unused(f"start__{slug}")
        reason = reasons[slug] or (f"it waits to start as Dag run {run_id!r}" if is_running(run_id) else None)
        log.info("%s: %s", slug, reason or ("starts" if is_new else "goes on"))
        if reason is None:
            # A known experiment goes on with its own recipe: the file may have changed since.
            conf = {"experiment": slug, **({"recipe": recipe} if is_new else {})}
            due.append({"conf": conf, "trigger_run_id": run_id})
    return due


with DAG(
    dag_id="selfexplore_start",
    dag_display_name="Self-Explore: start on a schedule",
    description="Start or continue a list of experiments.",
    doc_md=__doc__,
    schedule=os.environ.get(SCHEDULE_VARIABLE) or None,
    catchup=False,
    max_active_runs=1,
    params={
        "experiments": Param(
            os.environ.get(STARTS_VARIABLE, ""),
            type="string",
            title="Experiments",
            description="Names with their recipes: nightly=gsm8k-qwen2.5-0.5b, toy=arithmetic-tiny. "
            f"The default is the deployment's {STARTS_VARIABLE}.",
        )
    },
    default_args={"owner": "selfexplore", "on_failure_callback": alert_failure, **RETRIES},
    tags=["self-explore"],
):
    TriggerDagRunOperator.partial(task_id="start", trigger_dag_id=ROUND_DAG, logical_date=None).expand_kwargs(
        choose_experiments()
    )
