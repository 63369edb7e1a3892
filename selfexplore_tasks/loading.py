"""What a stage's process spends on getting ready: its interpreter, libraries and models. None of it is compute.

A stage's manifest keeps it under ``notes.loading`` (seconds by kind), where query `overhead` finds it.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PROCESS = "process"
"""From the start of the process to its stage; the stage's own seconds do not hold it, all other kinds they do."""


class Loading:
    """A clock for each kind of loading; while one runs, a second one inside it stands still."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._is_running = False

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Count the block's seconds as ``kind``."""
        if self._is_running:
            yield
            return
        self._is_running, started = True, time.monotonic()
        # Importing torch, vLLM or TRL makes a million objects and no garbage: without collections it is a tenth faster.
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()
            self._is_running = False
            self._seconds[kind] = self._seconds.get(kind, 0.0) + time.monotonic() - started

    def take(self) -> dict[str, float]:
        """What was counted since the last call, to the millisecond."""
        taken = {kind: round(seconds, 3) for kind, seconds in self._seconds.items()}
        self._seconds.clear()
        return taken

    def process_is_ready(self) -> None:
        """The interpreter has started and the stage begins: call it once, in a process that runs one stage."""
        self._seconds[PROCESS] = max(0.0, _seconds_since_start())


def _seconds_since_start() -> float:
    if sys.platform != "linux":
        return time.time() - psutil.Process().create_time()
    # psutil knows when the machine started to the second only.
    started_ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")


LOADING = Loading()
"""This process's."""
