"""Rounds from one trigger, through a crash, a bad candidate and the stop rule; and rounds that end on a regression.

    python tests/faults/unattended.py --scenario patience
    python tests/faults/unattended.py --scenario regression

A private Airflow runs everything. The script only watches, and breaks things: it kills the process of a stage with
SIGKILL, and spoils the weights of a policy that was just trained with noise, so that the gate meets a candidate that
has really become worse. In `patience` the loss is within `gate.max_regression`: the champion stays, and rounds go on
until four in a row promoted nothing. In `regression` it is not. Prints what the gate decided at the end.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
from tabulate import tabulate

from selfexplore_tasks.local_airflow import ROUND_DAG, LocalAirflow, free_port
from selfexplore_tasks.planning import reason_to_end
from selfexplore_tasks.report import query_rows
from selfexplore_tasks.store.experiments import last_round
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest

SLUG = "unattended"
DECISIONS = Path(__file__).parents[2] / "sql" / "queries" / "decisions.sql"
# The tiny recipe, smaller, so that five rounds take minutes.
OVERRIDES: dict[str, object] = {
    **{"problems.train.count": 2700, "problems.train_count": 2000, "problems.dev_count": 350},
    **{"problems.test_count": 350, "problems.rationale_count": 400, "sft.max_steps": 500, "rft.max_steps": 150},
    **{"sample.problems_per_round": 800, "sample.n": 4, "sample.chunk_size": 100},
    **{"pairs.explorer_problem_count": 300, "evaluate.chunk_size": 350},
}
SCENARIOS: dict[str, dict[str, object]] = {
    "patience": {"max_rounds": 8, "stop.patience": 4, "gate.max_regression": 0.6},
    "regression": {"max_rounds": 8, "gate.max_regression": 0.1},
}
SPOILED_ROUNDS = {"patience": 3, "regression": 2}
CRASH_ROUND = 2
WAIT_S = 2 * 3600


def main() -> int:
    options = _options()
    overrides = {**OVERRIDES, **SCENARIOS[options.scenario], "seed": options.seed}
    with tempfile.TemporaryDirectory(prefix="selfexplore-unattended-") as folder:
        store = Store(Path(folder) / "store")
        os.environ |= {"SELFEXPLORE_HOME": str(store.root), "OMP_NUM_THREADS": "1"}
        airflow = LocalAirflow(Path(folder) / "airflow", free_port())
        airflow.start(("api-server", "scheduler", "dag-processor"))
        try:
            conf = {"experiment": SLUG, "recipe": "arithmetic-tiny", "overrides": overrides}
            airflow.api.trigger(ROUND_DAG, "one-trigger", conf)
            _watch(store, spoiled_round=SPOILED_ROUNDS[options.scenario], noise=options.noise)
            print(tabulate(query_rows(store, [SLUG], DECISIONS.read_text(encoding="utf-8")), headers="keys"))
        finally:
            airflow.stop()
    return 0


def _watch(store: Store, *, spoiled_round: int, noise: float) -> None:
    """Break what the scenario breaks; return when the experiment has ended."""
    crashed, spoiled, begun = False, False, time.monotonic()
    while time.monotonic() - begun < WAIT_S:
        done = last_round(store, SLUG) if store.experiment_file(SLUG).exists() else None
        if done is not None and reason_to_end(store, SLUG, done):
            return
        if not crashed and store.table_dir("rationales", SLUG, CRASH_ROUND).exists():
            crashed = _kill_stage("sample")
        if not spoiled and done == spoiled_round - 1 and read_manifest(store, SLUG, spoiled_round, "dpo"):
            _spoil(store.model_dir(SLUG, f"{spoiled_round}/policy"), noise)
            spoiled = True
        time.sleep(0.2)
    sys.exit(f"the experiment did not end within {WAIT_S} s")


def _kill_stage(stage: str) -> bool:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            command = " ".join(process.cmdline()).split()  # a fork of the stage server has a title, not arguments
            if command[1:5] == ["-m", "selfexplore_tasks", "stage", stage] and SLUG in command:
                process.send_signal(signal.SIGKILL)
                print(f"killed stage {stage} of round {CRASH_ROUND}, pid {process.pid}", flush=True)
                return True
    return False


def _spoil(folder: Path, noise: float) -> None:
    """Add noise to every weight of a model, of ``noise`` times the weight matrix's own spread."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    path = folder / "model.safetensors"
    weights = {name: one + noise * one.std() * torch.randn_like(one) for name, one in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    print(f"spoiled {folder.parent.name}/{folder.name} with noise {noise}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), required=True)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
