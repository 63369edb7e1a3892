"""
### Housekeeping

Once a day, for every experiment: models that `retention.keep_rounds` no longer keeps are removed (never a champion of
any time, its ancestors, or what an unfinished round needs), small parquet parts of finished rounds are merged without
changing a row, temporary files are removed, and orphaned processes are ended. The log shows what was freed.

`selfexplore housekeeping --dry-run` tells beforehand.
"""

from __future__ import annotations

import logging

from airflow.sdk import DAG, task

from common.alerts import alert_failure
from common.stages import DUCKDB_POOL, RETRIES
from selfexplore_tasks.housekeeping import keep_house
from selfexplore_tasks.store.experiments import experiment_names
from selfexplore_tasks.store.home import Store

log = logging.getLogger(__name__)


@task(pool=DUCKDB_POOL)
def free_space() -> dict[str, int]:
    """Tidy every experiment; returns how many things of each kind went, and the bytes freed."""
    store, totals = Store.opened(), {"bytes": 0}
    for freed in keep_house(store, experiment_names(store)):
        if freed.count:
            log.info("%s: %s: %d, %d bytes, %d rows kept", *vars(freed).values())
        totals[freed.what] = totals.get(freed.what, 0) + freed.count
        totals["bytes"] += freed.size
    return totals


with DAG(
    dag_id="selfexplore_housekeeping",
    dag_display_name="Self-Explore: housekeeping",
    description="Prune models, merge small parts, remove leftovers, end orphaned processes.",
    doc_md=__doc__,
    schedule="@daily",
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "selfexplore", "on_failure_callback": alert_failure, **RETRIES},
    tags=["self-explore"],
):
    free_space()
