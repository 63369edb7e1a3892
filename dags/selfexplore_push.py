"""
### Push each new champion to the Hub

Off unless the deployment names a repository in `SELFEXPLORE_PUSH_REPO`, e.g. `me/{experiment}`. Runs after each
promotion and uploads the champion's folder with its model card, as one commit; new repositories are made private
unless `SELFEXPLORE_PUSH_PUBLIC` is `true`.

The token is the password of the Airflow connection named by `SELFEXPLORE_HUB_CONN`; without one, `HF_TOKEN` of the
worker's environment. It is in no log, no recipe and no table.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from airflow.sdk import DAG, Connection, task
from airflow.sdk.exceptions import AirflowFailException

from common.alerts import alert_failure
from common.assets import CHAMPION
from common.stages import DUCKDB_POOL, RETRIES, ConnectionLostError
from selfexplore_tasks.champion_push import push_champion
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.failures import ExitCode, failure_of
from selfexplore_tasks.store.home import Store

REPO_VARIABLE, PUBLIC_VARIABLE = "SELFEXPLORE_PUSH_REPO", "SELFEXPLORE_PUSH_PUBLIC"
CONNECTION_VARIABLE = "SELFEXPLORE_HUB_CONN"

log = logging.getLogger(__name__)


@task(pool=DUCKDB_POOL)
def push(triggering_asset_events: Any = None) -> list[str]:
    """Upload the champion of every experiment that promoted one; returns the addresses of the commits."""
    events = triggering_asset_events[CHAMPION] if triggering_asset_events else []
    store, pushed = Store.opened(), []
    refused: list[str] = []
    lost: list[str] = []
    is_private = os.environ.get(PUBLIC_VARIABLE, "").lower() != "true"
    for experiment in sorted({event.extra["experiment"] for event in events}):
        repo = os.environ[REPO_VARIABLE].replace("{experiment}", experiment)
        try:
            pushed.append(push_champion(store, experiment, repo, is_private=is_private, token=_token()))
            log.info("the champion of %s: %s", experiment, pushed[-1])
        except UserError as error:  # the others are pushed all the same
            failure = failure_of(error, store.root)
            is_lost = failure is not None and failure[0] == ExitCode.CONNECTION_LOST
            (lost if is_lost else refused).append(f"{experiment}: {error}")
    if lost:  # tried again; what is there already is not sent twice
        raise ConnectionLostError(" ".join([*lost, *refused]))
    if refused:
        raise AirflowFailException(" ".join(refused))
    return pushed


def _token() -> str | None:
    """The connection's password; None leaves it to the environment."""
    name = os.environ.get(CONNECTION_VARIABLE)
    return Connection.get(name).password if name else None


with DAG(
    dag_id="selfexplore_push",
    dag_display_name="Self-Explore: push the champion to the Hub",
    description="Upload each new champion with its model card.",
    doc_md=__doc__,
    schedule=[CHAMPION] if os.environ.get(REPO_VARIABLE) else None,
    catchup=False,
    default_args={"owner": "selfexplore", "on_failure_callback": alert_failure, **RETRIES},
    tags=["self-explore"],
):
    push()
