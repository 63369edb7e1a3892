"""The Dag runs of rounds, as Airflow knows them."""

from airflow.sdk import get_current_context

ROUND_DAG = "selfexplore_round"


def is_running(run_id: str) -> bool:
    """Whether the Dag run is queued or running; one that was deleted is not."""
    states = ["queued", "running"]
    return bool(get_current_context()["ti"].get_dr_count(dag_id=ROUND_DAG, run_ids=[run_id], states=states))
