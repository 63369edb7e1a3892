"""What the routes read from: the store of this process's environment, and Airflow's own runs."""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import select

from selfexplore_tasks.pages.reader import Reader
from selfexplore_tasks.store.home import Store
from selfexplore_ui.security import ROUND_DAG


@cache
def reader() -> Reader:
    """The reader of `$SELFEXPLORE_HOME`, one for this process."""
    return Reader(Store.from_environment())


def running_runs() -> frozenset[str]:
    """Ids of the rounds' Dag runs that are queued or running."""
    with create_session() as session:
        found = session.scalars(
            select(DagRun.run_id).where(DagRun.dag_id == ROUND_DAG, DagRun.state.in_(("queued", "running")))
        )
        return frozenset(found)


def run_conf(run_id: str) -> dict[str, Any] | None:
    """What a round's Dag run was triggered with; None if there is no such run."""
    with create_session() as session:
        found = session.scalar(select(DagRun).where(DagRun.dag_id == ROUND_DAG, DagRun.run_id == run_id))
        return None if found is None else dict(found.conf or {})
