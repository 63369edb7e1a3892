"""The hand on the wheel: an experiment that a person paused or cancelled, until it is resumed."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.failures import ExitCode
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import live_stages
from selfexplore_tasks.store.shared import shared_copy

RECORD_S = 1.0


@dataclass(frozen=True)
class Control:
    """What a person asked for, and when (ISO time). Paused: no further round. Cancelled: nothing goes on."""

    state: Literal["running", "paused", "cancelled"]
    who: str
    why: str
    at: str


def read_control(store: Store, slug: str) -> Control | None:
    """Return what was asked last, None if nothing ever was."""
    path = store.control_file(slug)
    return Control(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def pause(store: Store, slug: str, *, who: str, why: str) -> Control:
    """Let the round under way finish, and no other start; raises UserError if there is none, or it is cancelled."""
    check_not_cancelled(store, slug)
    return _write(store, slug, Control("paused", who, why, _now()))


def resume(store: Store, slug: str, *, who: str, why: str) -> Control:
    """Let an experiment go on after `pause` or `cancel`; raises UserError if there is no such experiment."""
    return _write(store, slug, Control("running", who, why, _now()))


def cancel(store: Store, slug: str, *, who: str, why: str) -> list[str]:
    """Stop an experiment now: nothing of it starts any more, and the stages a launcher started on this machine end.

    Returns the stages that still run: on another machine, where they end soon (`ended_if_cancelled`), or started by
    hand. Raises UserError if there is no such experiment.
    """
    # First the word, then the deed: the retry of a stage that was ended finds that it may not run.
    _write(store, slug, Control("cancelled", who, why, _now()))
    _end_launched(store, slug)
    # A launcher that looked just before the word was there has recorded its group by now.
    time.sleep(RECORD_S)
    _end_launched(store, slug)
    return live_stages(store, slug)


def _end_launched(store: Store, slug: str) -> None:
    # The launcher asks this module whether it may start.
    from selfexplore_tasks.launch import end_previous

    for record in sorted(store.lock_dir(slug).glob("*.pgid")):
        if _is_of_this_machine(record):
            end_previous(record)


def is_paused(store: Store, slug: str) -> bool:
    """Whether no further round may start."""
    control = read_control(store, slug)
    return control is not None and control.state != "running"


def check_may_run(store: Store, slug: str) -> None:
    """Raise UserError if a person paused or cancelled the experiment."""
    control = read_control(store, slug)
    if control is not None and control.state != "running":
        why = f": {control.why}" if control.why else ""
        raise UserError(
            f"Experiment {slug!r} was {control.state} by {control.who} at {control.at}{why}. "
            f"Go on with `selfexplore resume {slug}`."
        )


def check_not_cancelled(store: Store, slug: str) -> None:
    """Raise UserError if a person cancelled the experiment; a paused one may finish its round."""
    control = read_control(store, slug)
    if control is not None and control.state == "cancelled":
        check_may_run(store, slug)


@contextmanager
def ended_if_cancelled(store: Store, slug: str) -> Iterator[None]:
    """End this process, as a user's error does, when the experiment is cancelled; only in a shared store.

    There `cancel` reaches no stage of another machine. It is kill-safe, like any other end of a stage.
    """
    over = threading.Event()
    if shared_copy(store.root) is not None:
        threading.Thread(target=_end_when_cancelled, args=(store, slug, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _end_when_cancelled(store: Store, slug: str, over: threading.Event) -> None:
    copy = shared_copy(store.root)
    while copy is not None and not over.wait(copy.leases.renewal_s):
        with suppress(OSError, UserError):  # a store that is away for a while must not end the work
            copy.pull_file(store.control_file(slug))
        try:
            check_not_cancelled(store, slug)
        except UserError as cancelled:
            if not over.is_set():
                print(f"error: {cancelled}", flush=True)
                os._exit(ExitCode.USER_ERROR)


def _write(store: Store, slug: str, control: Control) -> Control:
    load_experiment(store, slug)
    write_json(store.control_file(slug), asdict(control))
    return control


def _is_of_this_machine(record: Path) -> bool:
    with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
        return bool(json.loads(record.read_text(encoding="utf-8"))["host"] == socket.gethostname())
    return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
