"""Processes we started, remembered so that they can be ended later and nothing else ever is.

A process id alone may have been given to somebody else's process in the meantime; with its start time it is unique.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

START_TOLERANCE_S = 0.05
PR_SET_PDEATHSIG = 1


def usable_cores() -> int:
    """CPU cores this process may use (a container or `taskset` may allow fewer than there are)."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def kernel_memory_kills() -> int:
    """How many processes the kernel has killed for memory since the machine started; 0 where it does not tell."""
    try:
        counters = Path("/proc/vmstat").read_text(encoding="ascii").split()
    except OSError:
        return 0
    return int(counters[counters.index("oom_kill") + 1]) if "oom_kill" in counters else 0


@dataclass(frozen=True)
class ProcessIdentity:
    """A process: its id, and when it started (seconds since the epoch)."""

    pid: int
    started_at: float

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """Raises psutil.NoSuchProcess if there is none."""
        return cls(pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """Return the process if it still lives, None if it ended or its id belongs to another process now."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < START_TOLERANCE_S
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def die_with(parent: int) -> None:
    """End this process when its parent ends, however that is; elsewhere than on Linux only if it has ended by now."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we could ask
        sys.exit(128 + signal.SIGKILL)


def end_trees(roots: list[psutil.Process], *, grace_s: float) -> None:
    """End processes and everything below them: SIGTERM to the roots, ``grace_s`` later SIGKILL to what is left."""
    family = {process.pid: process for root in roots for process in _tree(root)}
    for root in roots:
        with suppress(psutil.NoSuchProcess):
            root.terminate()
    psutil.wait_procs(roots, timeout=grace_s)
    for root in roots:
        family |= {process.pid: process for process in _tree(root)}
    left = [process for process in family.values() if process.is_running()]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=grace_s)


def end_group(group_id: int, *, grace_s: float) -> None:
    """End a process group: SIGTERM, and SIGKILL to what is left after ``grace_s``; returns when it is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(group_id, number)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            if not group_members(group_id):
                return
            time.sleep(0.02)


def group_members(group_id: int) -> list[psutil.Process]:
    """The live processes of a group; a zombie counts as gone."""
    return _live_members(os.getpgid, group_id)


def session_members(session_id: int) -> list[psutil.Process]:
    """The live processes of a session, whose leader may have ended; a zombie counts as gone."""
    return _live_members(os.getsid, session_id)


def _live_members(id_of: Callable[[int], int], wanted: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if id_of(process.pid) == wanted and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _tree(root: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [root, *root.children(recursive=True)]
    return []
