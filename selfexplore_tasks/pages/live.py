"""What runs right now, and in which state an experiment is."""

from __future__ import annotations

import json
from collections.abc import Collection

from selfexplore_tasks.pages.model import LiveStage
from selfexplore_tasks.pages.reader import Reader
from selfexplore_tasks.pages.snapshot import Snapshot
from selfexplore_tasks.planning import claimed_rounds, reason_to_end, round_run_id
from selfexplore_tasks.store.control import read_control
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import live_stages


def running_stages(store: Store, slug: str) -> list[LiveStage]:
    """The stages whose lock a process holds, with what they last said of their progress."""
    return [_live_stage(store, slug, name) for name in live_stages(store, slug)]


def _live_stage(store: Store, slug: str, name: str) -> LiveStage:
    round_text, stage, _ = name.split("-", 2)
    try:
        said = json.loads(store.progress_file(slug, name).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        said = {}
    known = {key: value for key, value in said.items() if key in LiveStage.model_fields}
    return LiveStage.model_validate({**known, "round": int(round_text), "stage": stage})


def state_of(reader: Reader, snapshot: Snapshot, live: Collection[LiveStage], running_runs: Collection[str]) -> str:
    """The experiment's state, as `ExperimentRow.state` names it; a person's word goes first.

    ``running_runs`` are ids of Dag runs that are queued or running, where Airflow was asked: between two stages nothing
    holds a lock.
    """
    store, slug = snapshot.store, snapshot.slug
    control = read_control(store, slug)
    if control is not None and control.state != "running":
        return control.state
    if live or _is_claimed(snapshot, running_runs):
        return "running"
    finished = snapshot.finished_rounds
    if not snapshot.manifests:
        return "new"
    if not finished or max(finished) < max(snapshot.rounds):
        return "idle"
    reason = reader.remember(("end", slug), snapshot.version(), lambda: reason_to_end(store, slug, max(finished)))
    return "ended" if reason else "idle"


def _is_claimed(snapshot: Snapshot, running_runs: Collection[str]) -> bool:
    finished = snapshot.finished_rounds
    claims = claimed_rounds(snapshot.store, snapshot.slug)
    if any(number not in finished and run_id in running_runs for number, run_id in claims.items()):
        return True
    following = max(finished, default=-1) + 1
    return round_run_id(snapshot.experiment, following) in running_runs
