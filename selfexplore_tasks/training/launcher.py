"""Starts the processes of a training run that one process does not do alone, and follows them to their end.

The stage's process stays what it is: it prepares the job, takes progress, watches alarms, and publishes the model. It
starts accelerate's launcher, which starts the processes (`training.rank`). However the stage ends, they end with it:
the kernel ends the launcher with the stage, and each process with the launcher.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.processes import end_trees, kernel_memory_kills
from selfexplore_tasks.training.attempt import Build
from selfexplore_tasks.training.data import OnProgress
from selfexplore_tasks.training.job import Job
from selfexplore_tasks.training.partial import PartialRun, read_json

RANK_MODULE = "selfexplore_tasks.training.rank"
PLAN_NAME = "plan.pickle"
RANK_LOG_NAME = "log.json"
"""Written by the first process when the model is there; too long for a message."""
MESSAGE = "\x1eselfexplore-training "
"""Starts a line that is meant for the stage's process; every other line is passed on."""
MESSAGE_CHARACTERS = 1_000
"""Of an error: a longer line would not reach the pipe in one piece (4,096 bytes on Linux)."""
GRACE_S = 5.0


@dataclass(frozen=True)
class Plan:
    """What every process is told; it lies in the run's folder while they work."""

    job: Job
    partial: PartialRun
    examples: Sequence[Any]
    build: Build
    threads: int


def train_in_processes(
    job: Job, partial: PartialRun, examples: Sequence[Any], build: Build, on_progress: OnProgress | None
) -> list[dict[str, float]]:
    """Train like `attempt.attempt`, over the processes of ``job.layout``; return the log.

    Raises MemoryError where one of them ran out of memory, RuntimeError for any other end than a finished model.
    """
    threads = max(1, job.threads // job.layout.processes)
    plan_file = partial.folder / PLAN_NAME
    (partial.folder / RANK_LOG_NAME).unlink(missing_ok=True)
    plan_file.write_bytes(pickle.dumps(Plan(job, partial, examples, build, threads)))
    killed_before = kernel_memory_kills()
    with subprocess.Popen(
        _command(job, plan_file, threads), stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
    ) as process:
        try:
            messages = _follow(process, on_progress)
        finally:
            if process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    end_trees([psutil.Process(process.pid)], grace_s=GRACE_S)
            code = process.wait()
    finished = read_json(partial.folder / RANK_LOG_NAME)
    if code == 0 and finished:
        log: list[dict[str, float]] = finished["log"]
        return log
    if "memory" in messages or kernel_memory_kills() > killed_before:
        raise MemoryError(f"one of {job.layout.processes} training processes ran out of memory")
    if "user_error" in messages:
        raise UserError(messages["user_error"])
    raise RuntimeError(messages.get("failure", f"the training processes ended with exit code {code}: see the log"))


def send(kind: str, content: Any) -> None:
    """Tell the stage's process something, from one of its training processes; in one piece, others write too."""
    os.write(1, f"{MESSAGE}{json.dumps([kind, content])}\n".encode())


def _command(job: Job, plan_file: Path, threads: int) -> list[str]:
    return [
        *(sys.executable, "-m", RANK_MODULE, "launch", str(os.getpid())),
        *("--config_file", str(job.layout.config_file), "--num_processes", str(job.layout.processes)),
        *("--main_process_port", "0", "--num_cpu_threads_per_process", str(threads)),
        *("-m", RANK_MODULE, "train", str(plan_file)),
    ]


def _follow(process: subprocess.Popen[str], on_progress: OnProgress | None) -> dict[str, Any]:
    """Pass lines on and report progress until the output ends; return the first message of every other kind."""
    messages: dict[str, Any] = {}
    for line in process.stdout or ():
        before, mark, text = line.partition(MESSAGE)
        if before.strip():
            print(before.rstrip("\n"), flush=True)
        if mark:
            kind, content = json.loads(text)
            if kind == "progress":
                if on_progress is not None:
                    on_progress(*content)
            else:
                messages.setdefault(kind, content)
    return messages
