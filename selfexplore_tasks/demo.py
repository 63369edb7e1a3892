"""``make demo``: a private Airflow runs whole rounds on generated problems; follow it, then see the proof.

Everything goes the way a user's own run does: the Dag is triggered through Airflow's REST API and does the work. This
program only starts Airflow, watches, and stops what it started, whatever ends it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from selfexplore_tasks.airflow_api import ApiError, TaskState
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.local_airflow import REPOSITORY, ROUND_DAG, USER, LocalAirflow, free_port
from selfexplore_tasks.planning import following_round, round_run_id
from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.store.experiments import delete_experiment, load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest

SLUG = "demo"
RECIPE = "arithmetic-tiny"
FIRST_RUN = f"{SLUG}__start"
STAGE_LOGGER = "common.stages"
POLL_S = 1.0
PLAIN_INTERVAL_S = 15.0
TAIL_BYTES = 65_536
FAILURE_LINES = 25


class DemoFailed(Exception):
    """A task failed; the message names it and ends with its last log lines."""


@dataclass
class Screen:
    """Progress: one line that changes on a terminal, a plain line now and then elsewhere."""

    started: float = field(default_factory=time.monotonic)
    is_terminal: bool = field(default_factory=sys.stdout.isatty)
    _last_plain: float = 0.0

    def settle(self, text: str) -> None:
        """Print a line that stays."""
        self._write(text, "\n")

    def update(self, text: str) -> None:
        """Show what goes on now."""
        if self.is_terminal:
            self._write(text[: shutil.get_terminal_size().columns - 9], "")
        elif time.monotonic() - self._last_plain >= PLAIN_INTERVAL_S:
            self._last_plain = time.monotonic()
            self._write(text, "\n")

    def _write(self, text: str, end: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        # Back to the first column and clear: the changing line is written over.
        start = "\r\x1b[K" if self.is_terminal else ""
        print(f"{start}[{minutes:02d}:{seconds:02d}] {text}", end=end, flush=True)


@dataclass
class Follower:
    """Watches the Dag runs of one experiment until no round follows."""

    airflow: LocalAirflow
    store: Store
    screen: Screen
    _since: dict[str, float] = field(default_factory=dict)
    _settled: set[str] = field(default_factory=set)

    def follow(self, run_id: str) -> None:
        """Return when the last round has ended; raises DemoFailed when a task fails."""
        number: int | None = 0
        while number is not None:
            self._since, self._settled = {}, set()
            self._follow_round(run_id, number)
            number = following_round(self.store, SLUG, number)
            if number is not None:
                run_id = round_run_id(load_experiment(self.store, SLUG), number)

    def _follow_round(self, run_id: str, number: int) -> None:
        api = self.airflow.api
        while True:
            # The state first: tasks that ended before it did are then all seen.
            state = api.run_state(ROUND_DAG, run_id)
            tasks = api.task_states(ROUND_DAG, run_id) if state else []
            self._show(run_id, number, tasks)
            if state == "failed":
                raise DemoFailed(self._explain(run_id, number, tasks))
            if state == "success":
                return
            time.sleep(POLL_S)

    def _show(self, run_id: str, number: int, tasks: list[TaskState]) -> None:
        by_stage: dict[str, list[TaskState]] = {}
        for task in tasks:
            if task.task_id in stages_of(number):
                by_stage.setdefault(task.task_id, []).append(task)
        for stage, shards in by_stage.items():
            if stage in self._settled:
                continue
            running = [task for task in shards if task.state in ("running", "up_for_retry")]
            if all(task.state == "success" for task in shards):
                self._settled.add(stage)
                seconds = max(task.seconds or 0.0 for task in shards)
                self.screen.settle(f"round {number}  {stage:<15} {seconds:6.1f} s  {self._counts(number, stage)}")
            elif running:
                now = time.monotonic()
                since = now - self._since.setdefault(stage, now)
                retry = f" (try {running[0].try_number})" if running[0].try_number > 1 else ""
                lines = self._log(run_id, running[0], STAGE_LOGGER)
                self.screen.update(
                    f"round {number}  {stage:<15} {since:6.1f} s{retry}  {lines[-1] if lines else 'starting'}"
                )

    def _counts(self, number: int, stage: str) -> str:
        manifest = read_manifest(self.store, SLUG, number, stage)
        counts = manifest.row_counts if manifest else {}
        return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())

    def _explain(self, run_id: str, number: int, tasks: list[TaskState]) -> str:
        failed = next((task for task in tasks if task.state == "failed"), None)
        if failed is None:
            return f"round {number} failed without a failed task: see {self.airflow.home / 'components'}/scheduler.log"
        lines = self._log(run_id, failed)[-FAILURE_LINES:]
        return f"task {failed.task_id} of round {number} failed. Its last lines:\n  " + "\n  ".join(lines)

    def _log(self, run_id: str, task: TaskState, logger: str | None = None) -> list[str]:
        """The last messages of a task's current try, of one logger or of all."""
        folder = self.airflow.home / "logs" / f"dag_id={ROUND_DAG}" / f"run_id={run_id}" / f"task_id={task.task_id}"
        if task.map_index >= 0:
            folder /= f"map_index={task.map_index}"
        return read_events(folder / f"attempt={task.try_number}.log", logger)


def read_events(log: Path, logger: str | None = None) -> list[str]:
    """The last messages in a log file of Airflow (JSON lines); empty while there is none."""
    try:
        with log.open("rb") as handle:
            handle.seek(max(0, log.stat().st_size - TAIL_BYTES))
            tail = handle.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    found = []
    for line in tail.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        event = str(entry.get("event", ""))
        # Lines with "::" only fold the log in Airflow's UI.
        if logger in (None, entry.get("logger")) and not event.startswith("::"):
            found.append(event)
            found += [f"{error.get('exc_type')}: {error.get('exc_value')}" for error in entry.get("error_detail") or []]
    return found


def run_demo(store: Store, airflow: LocalAirflow, *, rounds: int, seed: int | None) -> None:
    """Start Airflow, run round 0 and ``rounds`` more, print the report; Airflow is stopped at the end."""
    from selfexplore_tasks.report import round_report

    screen = Screen()
    screen.settle(f"Recipe {RECIPE}, rounds: {rounds}, data in {store.root}")
    conf: dict[str, object] = {"experiment": SLUG, "recipe": RECIPE, "max_rounds": rounds}
    if seed is not None:
        conf["seed"] = seed
    try:
        screen.settle("Starting Airflow ...")
        airflow.start(("api-server", "scheduler", "dag-processor"))
        screen.settle(
            f"Airflow: {airflow.address} (user {USER}, password {airflow.password}). Ctrl-C stops everything."
        )
        airflow.api.trigger(ROUND_DAG, FIRST_RUN, conf)
        Follower(airflow, store, screen).follow(FIRST_RUN)
    finally:
        # A second Ctrl-C, or the terminal's and make's at once, must not leave half of it running.
        _handle_signals(signal.SIG_IGN)
        screen.settle("Stopping Airflow ...")
        airflow.stop()
    print(f"\n{round_report(store, SLUG)}")


@contextmanager
def only_demo(folder: Path) -> Iterator[None]:
    """Hold the demo's folder; raises UserError while another demo uses it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError("Another demo is running here: wait for it or stop it first.") from error
        yield


def _handle_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when every round ended well, 1 when a task failed, 2 for the user's error, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m selfexplore_tasks.demo", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args(arguments)
    _handle_signals(_interrupt)
    folder = REPOSITORY / ".run" / "demo"
    os.environ.setdefault("SELFEXPLORE_HOME", str(REPOSITORY / ".run" / "store"))
    store = Store.from_environment()
    try:
        with only_demo(folder):
            home = folder / "airflow"
            LocalAirflow(home, 0).stop()
            shutil.rmtree(home, ignore_errors=True)
            if store.experiment_file(SLUG).exists():
                delete_experiment(store, SLUG)
            run_demo(store, LocalAirflow(home, free_port()), rounds=options.rounds, seed=options.seed)
    except DemoFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (UserError, ApiError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; everything the demo started has been stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
