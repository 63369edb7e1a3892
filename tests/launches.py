"""Stages that tests launch: a stubborn one, a launcher that can be killed, and what must not outlive them."""

from __future__ import annotations

import time

import psutil
import pytest

from selfexplore_tasks.launch import run_stage_process

# Starts a child that ignores SIGTERM, tells both ids, and never ends by itself.
STUBBORN = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    print("pids", os.getpid(), child.pid, flush=True)
    time.sleep(300)
"""
# A program: its arguments are the stage, the experiment and the round.
LAUNCH = """
import sys
from selfexplore_tasks.launch import run_stage_process
stage, experiment, round_text = sys.argv[1:]
sys.exit(run_stage_process(
    stage, experiment=experiment, round_number=int(round_text), on_line=lambda line: print(line, flush=True)
))
"""


def launch(env: dict[str, str], lines: list[str], **settings: float) -> int:
    return run_stage_process("sample", experiment="trial", round_number=1, env=env, on_line=lines.append, **settings)


def pids_of(lines: list[str]) -> list[int]:
    return [int(word) for line in lines if line.startswith("pids") for word in line.split()[1:]]


def wait_until_gone(pids: list[int], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        live = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
        if not live:
            return
        time.sleep(0.05)
    pytest.fail(f"still alive: {live}")
