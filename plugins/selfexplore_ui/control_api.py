"""The hand on the wheel: pause, resume, cancel and fork, on record under the user's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.pages.experiments import experiment_row
from selfexplore_tasks.pages.model import ExperimentRow
from selfexplore_tasks.pages.snapshot import NotFound
from selfexplore_tasks.store import control
from selfexplore_tasks.store.forks import fork_experiment
from selfexplore_ui import sources
from selfexplore_ui.pages_api import Slug
from selfexplore_ui.security import UserName, may_change
from selfexplore_ui.workers import CHANGES

router = APIRouter(tags=["control"], dependencies=[may_change])


class Reason(BaseModel):
    """Why a person decides so."""

    why: str = Field("", max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$", description="In a few words, one line.")


class Fork(BaseModel):
    """The last round to take over, and the new experiment's name."""

    round: int = Field(ge=0, le=999_999)
    new_name: str = Field(max_length=64)


class Changed(BaseModel):
    """What was done, in a sentence, and the experiment now."""

    message: str
    experiment: ExperimentRow


@router.post("/experiments/{experiment}/pause")
@CHANGES.json
def pause(experiment: Slug, reason: Reason, who: UserName) -> Changed:
    """Let the round under way finish, and no other start."""
    return _decide(control.pause, experiment, reason, who, f"{experiment} pauses after the round under way.")


@router.post("/experiments/{experiment}/resume")
@CHANGES.json
def resume(experiment: Slug, reason: Reason, who: UserName) -> Changed:
    """Let an experiment go on after a pause or a cancellation."""
    message = f"{experiment} may go on: trigger it again where nothing is queued."
    return _decide(control.resume, experiment, reason, who, message)


@router.post("/experiments/{experiment}/cancel")
@CHANGES.json
def cancel(experiment: Slug, reason: Reason, who: UserName) -> Changed:
    """Stop an experiment now: the stages that Airflow launched on this machine are ended."""
    with _refused_as_conflict(experiment):
        left = control.cancel(sources.reader().store, experiment, who=who, why=reason.why)
    still = f" Still running, as nothing on this machine launched it: {', '.join(left)}." if left else ""
    return _changed(experiment, f"{experiment} is cancelled.{still}")


@router.post("/experiments/{experiment}/fork")
@CHANGES.json
def fork(experiment: Slug, wanted: Fork, who: UserName) -> Changed:
    """Make a new experiment that goes on from a finished round and shares its files."""
    with _refused_as_conflict(experiment):
        fork_experiment(sources.reader().store, experiment, wanted.round, wanted.new_name)
    after = f"as {experiment} after round {wanted.round}"
    return _changed(wanted.new_name, f"{wanted.new_name} begins with round {wanted.round + 1}, {after}.")


def _decide(act: Callable[..., control.Control], experiment: str, reason: Reason, who: str, message: str) -> Changed:
    with _refused_as_conflict(experiment):
        act(sources.reader().store, experiment, who=who, why=reason.why)
    return _changed(experiment, message)


@contextmanager
def _refused_as_conflict(experiment: str) -> Iterator[None]:
    """What the experiment's state does not allow is 409; an unknown experiment is 404."""
    sources.reader().snapshot(experiment)
    try:
        yield
    except NotFound:
        raise
    except UserError as error:
        raise HTTPException(409, str(error)) from error


def _changed(experiment: str, message: str) -> Changed:
    reader = sources.reader()
    row = experiment_row(reader, reader.snapshot(experiment), sources.running_runs())
    return Changed(message=message, experiment=row)
