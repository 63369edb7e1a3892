"""Kill stages at random moments, let them go on, and compare every table with those of an undisturbed run.

    python tests/faults/kills.py --kills 90 --seed 0          # `make test-faults` adds kills of Airflow itself

Kills are SIGKILL, at seeded moments spread over every stage, of the stage's own process (with its engine), of the guard
that leads its process group, of the launcher, or of all of them at once, as when the machine loses power. Every try
goes through the launcher that Airflow uses. Where a stage ends before its kill, the kill goes to a later stage; rounds
follow each other until all kills have happened.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.store.catalogue import connect
from selfexplore_tasks.store.experiments import open_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest
from selfexplore_tasks.store.schemas import TABLES

SLUG = "faults"
RECIPE = "arithmetic-tiny"
# The tiny recipe made small enough for a hundred starts: easy problems, few of them, short trainings, small chunks.
OVERRIDES: dict[str, object] = {
    "problems.train": {
        **{"kind": "arithmetic", "count": 340, "min_steps": 1, "max_steps": 2, "max_value": 9},
        **{"start_range": [2, 4], "term_range": [1, 2], "factor_range": [2, 2], "divisor_range": [2, 2]},
    },
    **{"problems.train_count": 280, "problems.dev_count": 30, "problems.test_count": 30},
    **{"problems.rationale_count": 180, "max_rounds": 50, "seed": 1, "engine.kind": "transformers"},
    **{"engine.threads": 1, "sft.max_steps": 120, "rft.max_steps": 40, "dpo.max_steps": 6, "dpo.batch_size": 8},
    **{"dpo.micro_batch_size": 8, "sample.n": 4, "sample.temperature": 1.0, "sample.chunk_size": 10},
    **{"sample.problems_per_round": 60, "explore.chunk_size": 5, "evaluate.chunk_size": 15},
    "gate.max_regression": None,
}
Victim = Literal["stage", "guard", "launcher", "machine"]
VICTIMS: tuple[Victim, ...] = ("stage", "guard", "launcher", "machine")
# What may differ between two runs with the same result: times.
TIMES = {"rounds": ("seconds", "estimated_seconds", "estimated_tokens")}
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


def run_with_kills(store: Store, tally: Tally, *, seed: int, seconds: dict[str, float]) -> int:
    """Run rounds of the experiment until every kill has happened; return the last round, finished.

    Args:
        seconds: how long each stage takes undisturbed, the start of Python included.
    """
    source = random.Random(seed)
    open_experiment(store, SLUG, RECIPE, OVERRIDES)
    round_number = 0
    while True:
        stages = stages_of(round_number)
        for place, stage in enumerate(stages):
            # Spread over the stages that are left of this round, two at least for one that works long.
            share = max(1, min(3, tally.left // (len(stages) - place) + 1))
            _run_stage(store, stage, round_number, min(share, tally.left), tally, source, seconds.get(stage, 3.0))
        if not tally.left:
            return round_number
        round_number += 1


def run_undisturbed(store: Store, rounds: int) -> dict[str, float]:
    """Run rounds 0 to ``rounds``; return the seconds of each stage, the start of Python included."""
    open_experiment(store, SLUG, RECIPE, OVERRIDES)
    seconds: dict[str, float] = {}
    for round_number in range(rounds + 1):
        for stage in stages_of(round_number):
            if read_manifest(store, SLUG, round_number, stage) is None:
                begun = time.monotonic()
                code = _launch(store, stage, round_number).wait()
                assert code == 0, f"stage {stage} of round {round_number} ended with {code}"
                seconds[stage] = time.monotonic() - begun
    return seconds


def compare(one: Store, other: Store, rounds: int) -> list[str]:
    """Say what differs between two stores' tables up to a round; nothing where they hold the same rows once each."""
    differences = []
    for table in TABLES:
        ours, theirs = (_rows(store, table, rounds) for store in (one, other))
        lost, added = theirs - ours, ours - theirs
        if lost or added:
            differences.append(f"{table}: {lost.total()} rows lost, {added.total()} added or doubled")
    return differences


def _rows(store: Store, table: str, rounds: int) -> Counter[str]:
    connection = connect(store, [SLUG])
    try:
        rows: list[dict[str, Any]] = (
            connection.sql(f"select * from {table} where round <= {rounds}").to_arrow_table().to_pylist()
        )
    finally:
        connection.close()
    left_out = TIMES.get(table, ())
    kept = [{name: value for name, value in row.items() if name not in left_out} for row in rows]
    return Counter(json.dumps(row, sort_keys=True, default=str) for row in kept)


def _run_stage(
    store: Store, stage: str, round_number: int, kills: int, tally: Tally, source: random.Random, seconds: float
) -> None:
    for _ in range(kills):
        process = _launch(store, stage, round_number)
        victim = source.choice(VICTIMS)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=source.uniform(0.1, seconds))
        if process.poll() is None and _kill(process, victim):
            tally.victims[victim] += 1
            tally.stages[stage] += 1
        process.wait()
        if read_manifest(store, SLUG, round_number, stage) is not None:
            return
    code = _launch(store, stage, round_number).wait()
    assert code == 0, f"stage {stage} of round {round_number} did not go on after {tally.stages[stage]} kills: {code}"


def _launch(store: Store, stage: str, round_number: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "SELFEXPLORE_HOME": str(store.root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LAUNCH, stage, SLUG, str(round_number)]
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
            os.kill(process.pid, signal.SIGKILL)
            killed = True
    return killed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=90)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selfexplore-faults-") as folder:
        calm, rough = Store(Path(folder) / "calm"), Store(Path(folder) / "rough")
        seconds = run_undisturbed(calm, 1)
        tally = Tally(options.kills)
        last = run_with_kills(rough, tally, seed=options.seed, seconds=seconds)
        run_undisturbed(calm, last)
        differences = compare(rough, calm, last)
    print(f"victims: {dict(tally.victims)}; stages: {dict(tally.stages)}; rounds: {last + 1}; seed {options.seed}")
    for difference in differences:
        print(difference)
    verdict = "tables differ from" if differences else "0 rows lost, 0 duplicated, tables equal to"
    print(f"{tally.victims.total()} kills, {verdict} the undisturbed run")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
