"""SIGKILL for stages at seeded moments: the stage and its engine, the guard of its group, the launcher, or all at once.

Every try goes through the launcher that Airflow uses. Where a stage ends before its kill, the kill goes to a later one.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import psutil

from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest
from subject import Subject

Victim = Literal["stage", "guard", "launcher", "machine", "worker", "scheduler", "api-server", "database"]
VICTIMS: tuple[Victim, ...] = ("stage", "guard", "launcher", "machine")
LAUNCH = """
import sys
from selfexplore_tasks.launch import run_stage_process
sys.exit(run_stage_process(sys.argv[1], experiment=sys.argv[2], round_number=int(sys.argv[3]), on_line=print))
"""


@dataclass
class Tally:
    """What was killed, and how often."""

    wanted: int
    victims: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        return self.wanted - self.victims.total()

    def count(self, victim: Victim, stage: str) -> None:
        self.victims[victim] += 1
        self.stages[stage] += 1


def run_with_kills(
    store: Store, subject: Subject, tally: Tally, *, seed: int, seconds: dict[str, float], rounds: int | None = None
) -> int:
    """Run rounds of the experiment until every kill has happened; return the last round, finished.

    Args:
        seconds: how long each stage takes undisturbed, the start of Python included.
        rounds: the last round, over whose stages the kills are spread; None: as many rounds as the kills take.
    """
    source = random.Random(seed)
    subject.open(store)
    round_number = 0
    while True:
        stages = stages_of(round_number)
        for place, stage in enumerate(stages):
            if rounds is None:
                # Over the stages that are left of this round, two at least for one that works long.
                kills = min(max(1, min(3, tally.left // (len(stages) - place) + 1)), tally.left)
            else:
                later = sum(len(stages_of(number)) for number in range(round_number + 1, rounds + 1))
                whole, part = divmod(tally.left / (len(stages) - place + later), 1)
                kills = int(whole) + (source.random() < part)
            _run_stage(store, subject, stage, round_number, kills, tally, source, seconds.get(stage, 3.0))
        if round_number == rounds or (rounds is None and not tally.left):
            return round_number
        round_number += 1


def run_undisturbed(store: Store, subject: Subject, rounds: int) -> dict[str, float]:
    """Run rounds 0 to ``rounds``; return the seconds of each stage, the start of Python included."""
    subject.open(store)
    seconds: dict[str, float] = {}
    for round_number in range(rounds + 1):
        for stage in stages_of(round_number):
            if read_manifest(store, subject.slug, round_number, stage) is None:
                begun = time.monotonic()
                code = _launch(store, subject, stage, round_number).wait()
                assert code == 0, f"stage {stage} of round {round_number} ended with {code}"
                seconds[stage] = time.monotonic() - begun
    return seconds


def _run_stage(
    store: Store,
    subject: Subject,
    stage: str,
    round_number: int,
    kills: int,
    tally: Tally,
    source: random.Random,
    seconds: float,
) -> None:
    for _ in range(kills):
        process = _launch(store, subject, stage, round_number)
        victim = source.choice(VICTIMS)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=source.uniform(0.1, seconds))
        if process.poll() is None and _kill(process, victim):
            tally.count(victim, stage)
        process.wait()
        if read_manifest(store, subject.slug, round_number, stage) is not None:
            return
    code = _launch(store, subject, stage, round_number).wait()
    assert code == 0, f"stage {stage} of round {round_number} did not go on after {tally.stages[stage]} kills: {code}"


def _launch(store: Store, subject: Subject, stage: str, round_number: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "SELFEXPLORE_HOME": str(store.root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LAUNCH, stage, subject.slug, str(round_number)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def _kill(launcher: subprocess.Popen[bytes], victim: Victim) -> bool:
    """SIGKILL the victim below the launcher; returns whether there was one."""
    try:
        below = psutil.Process(launcher.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return False
    guards = [process for process in below if process.ppid() == launcher.pid]
    stages = [process for process in below if any(process.ppid() == guard.pid for guard in guards)]
    chosen = {
        "stage": stages,
        "guard": guards,
        "launcher": [psutil.Process(launcher.pid)],
        "machine": [psutil.Process(launcher.pid), *below],
    }[victim]
    killed = False
    for process in chosen:
        with suppress(psutil.NoSuchProcess):
            process.kill()
            killed = True
    return killed
