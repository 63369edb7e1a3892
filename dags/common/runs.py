"""The Dag runs of rounds, as Airflow knows them."""

from collections.abc import Iterator
from itertools import count

from airflow.sdk import get_current_context

ROUND_DAG = "selfexplore_round"


def is_running(run_id: str) -> bool:
    """Whether the Dag run is queued or running; one that was deleted is not."""
    return _is_in(run_id, "queued", "running")


def not_failed_yet(run_id: str) -> str:
    """The id, or a further one where the run of that id has failed: Airflow triggers no id twice."""
    return next(one for one in _tries(run_id) if not _is_in(one, "failed"))


def first_unused(run_id: str) -> str:
    """The id, or a further one where the runs of that id have ended: what is queued or running keeps its id."""
    return next(one for one in _tries(run_id) if not _is_in(one, "failed", "success"))


def _tries(run_id: str) -> Iterator[str]:
    return (run_id if number == 1 else f"{run_id}__try_{number}" for number in count(1))


def _is_in(run_id: str, *states: str) -> bool:
    return bool(get_current_context()["ti"].get_dr_count(dag_id=ROUND_DAG, run_ids=[run_id], states=list(states)))
