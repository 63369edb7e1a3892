"""
### The champion on every benchmark

Runs after each promotion (it waits for the asset `selfexplore_champion`) and evaluates the new champion on the test
problems of the recipe's `problems.benchmarks`. For the report only: the gate never looks at these numbers. They are in
the tables `evaluations` and `scores` of the round that promoted. The next round goes on meanwhile.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from common.alerts import alert_failure
from common.assets import CHAMPION
from common.stages import DUCKDB_POOL, RETRIES, gpu_place, run_stage


@task(pool=DUCKDB_POOL)
def list_promotions(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
    """The rounds whose promotions caused this run: one mapped task each."""
    events = triggering_asset_events[CHAMPION] if triggering_asset_events else []
    return [{"experiment": event.extra["experiment"], "round": event.extra["round"]} for event in events]


with DAG(
    dag_id="selfexplore_benchmarks",
    dag_display_name="Self-Explore: benchmarks of the champion",
    description="Evaluate each new champion on every test benchmark of its recipe.",
    doc_md=__doc__,
    schedule=[CHAMPION],
    catchup=False,
    default_args={"owner": "selfexplore", "on_failure_callback": alert_failure, **RETRIES},
    tags=["self-explore"],
):
    run_stage.override(task_id="benchmarks", **gpu_place()).partial(stage="benchmarks").expand(plan=list_promotions())
