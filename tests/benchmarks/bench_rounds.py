"""What Airflow and start-ups add to a round: whole rounds in a real, private Airflow, at growing sizes.

One experiment, ``arithmetic-tiny`` with less of everything: its rounds 1, 2 and 3 draw 1x, 2x and 4x as many rationales
a problem. *Wall* is the Dag run from its start to its end. *Compute* is the seconds of its stages without loading
(interpreters, libraries, models). What a round costs beside its compute hardly grows with it, so one row tells what the
largest cost measured here comes to in a round of half an hour. ``--demo-home`` names a store with the rounds of `make
demo`, which get a row too.

    python tests/benchmarks/bench_rounds.py --sizes 1 2
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from rows import Row, print_rows
from selfexplore_tasks.local_airflow import ROUND_DAG, LocalAirflow, free_port
from selfexplore_tasks.planning import round_run_id
from selfexplore_tasks.store.catalogue import SQL_DIR
from selfexplore_tasks.store.experiments import experiment_names, load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.select import select

SLUG, RECIPE, PART = "bench-rounds", "arithmetic-tiny", "orchestration"
HALF_AN_HOUR_S = 1_800.0
LONG_GOAL, DEMO_GOAL = 1.10, 1.35
BASE_N = 2
REDUCED = {
    "problems.dev_count": 200,
    "problems.test_count": 200,
    "sft.max_steps": 300,
    "rft.max_steps": 100,
    "pairs.explorer_problem_count": 200,
    "sample.problems_per_round": 600,
    "gate.max_regression": None,  # a model trained this little may well get worse
}
QUICK = {"sft.max_steps": 150, "rft.max_steps": 50, "sample.problems_per_round": 200}


@dataclass(frozen=True)
class Measured:
    """One round, in seconds; ``memory_mib`` is the peak of Airflow's own processes together."""

    wall_s: float
    compute_s: float
    loading_s: float
    memory_mib: float

    @property
    def added_s(self) -> float:
        return self.wall_s - self.compute_s


def run_rounds(airflow: LocalAirflow, store: Store, sizes: Sequence[int], seed: int, *, quick: bool) -> list[Measured]:
    """Run round 0 and one round for each size; returns those rounds, round 0 included."""
    by_round = [BASE_N * size for size in sizes]
    overrides = {**REDUCED, **(QUICK if quick else {}), "sample.n": BASE_N, "by_round.n": by_round}
    conf = {"experiment": SLUG, "recipe": RECIPE, "max_rounds": len(sizes), "seed": seed, "overrides": overrides}
    airflow.start(("api-server", "scheduler", "dag-processor"))
    run_id, found = f"{SLUG}__start", []
    airflow.api.trigger(ROUND_DAG, run_id, conf)
    for number in range(len(sizes) + 1):
        wall_s, memory_mib = _follow(airflow, run_id)
        overhead = overhead_of(store)[number]
        found.append(Measured(wall_s, overhead["compute_seconds"], overhead["loading_seconds"], memory_mib))
        print(f"round {number}: {found[-1]}", file=sys.stderr, flush=True)
        run_id = round_run_id(load_experiment(store, SLUG), number + 1)
    return found


def _follow(airflow: LocalAirflow, run_id: str) -> tuple[float, float]:
    """Wall seconds of a Dag run, and the peak memory of Airflow meanwhile; raises RuntimeError where it failed."""
    peak = 0.0
    while (state := airflow.api.run_state(ROUND_DAG, run_id)) not in ("success", "failed"):
        peak = max(peak, _memory_mib(airflow))
        time.sleep(1)
    if state == "failed":
        tasks = [task.task_id for task in airflow.api.task_states(ROUND_DAG, run_id) if task.state == "failed"]
        raise RuntimeError(f"Dag run {run_id} failed in {', '.join(tasks)}")
    run = airflow.api.call("GET", f"/dags/{ROUND_DAG}/dagRuns/{run_id}")
    began, ended = (datetime.fromisoformat(run[name]) for name in ("start_date", "end_date"))
    return (ended - began).total_seconds(), peak


def _memory_mib(airflow: LocalAirflow) -> float:
    """Memory of Airflow's components alone: a stage's process has a session of its own."""
    total = 0
    for identity in airflow.components().values():
        for process in [process for process in [identity.find()] if process]:
            for one in [process, *process.children(recursive=True)]:
                try:
                    if os.getsid(one.pid) == identity.pid:
                        total += one.memory_full_info().pss
                except (psutil.Error, ProcessLookupError):
                    continue  # it ended meanwhile
    return total / 2**20


def overhead_of(store: Store, slug: str = SLUG) -> dict[int, dict[str, float]]:
    """Rows of the ready query `overhead` by round."""
    sql = (SQL_DIR / "queries" / "overhead.sql").read_text(encoding="utf-8")
    return {row["round"]: row for row in select(store, [slug], sql).to_pylist()}


def rows_of(sizes: Sequence[int], rounds: Sequence[Measured]) -> list[Row]:
    """Every measured round, what one of half an hour would have, and what is added to each."""
    names = ["round 0", *(f"{size}x" for size in sizes)]
    found = [
        _row("wall time of a round by its compute", name, f"{one.wall_s:.0f} s wall", one.compute_s, one, "", None)
        for name, one in zip(names, rounds, strict=True)
    ]
    worst = max(rounds, key=lambda one: one.added_s)
    long = Measured(HALF_AN_HOUR_S + worst.added_s, HALF_AN_HOUR_S, worst.loading_s, worst.memory_mib)
    what = f"the same, at half an hour of compute (adding the {worst.added_s:.0f} s measured, {worst.loading_s:.0f} of "
    what += "them loading)"
    return [*found, _row(what, "computed", f"{long.wall_s:.0f} s wall", HALF_AN_HOUR_S, long, "<=", LONG_GOAL)]


def demo_rows(home: Path) -> list[Row]:
    """The rounds of a store's experiment `demo`, from its manifests (without the tasks before and after the stages)."""
    store = Store(home)
    if "demo" not in experiment_names(store):
        return []
    rows = overhead_of(store, "demo").values()
    wall, compute, loading = (sum(row[f"{name}_seconds"] for row in rows) for name in ("wall", "compute", "loading"))
    demo = Measured(wall, compute, loading, 0.0)
    what = f"the same, all rounds of `make demo` ({loading:.0f} s of them loading)"
    return [_row(what, "demo", f"{wall:.0f} s wall", compute, demo, "<=", DEMO_GOAL)]


def _row(what: str, size: str, ours: str, compute_s: float, one: Measured, sign: str, goal: float | None) -> Row:
    ratio = one.wall_s / one.compute_s
    return Row(
        part=PART,
        what=what,
        size=size,
        ours=ours,
        reference=f"{compute_s:.0f} s compute",
        ratio=round(ratio, 3),
        goal=f"{sign} {goal:.2f}" if goal else "",
        is_met=ratio <= goal if goal else None,
        memory_mib=round(one.memory_mib) or None,
    )


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 2, 4], help="one round each (1 2 4)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="smaller still: only whether it works")
    parser.add_argument("--demo-home", type=Path, help="a store with the rounds of `make demo` ($SELFEXPLORE_HOME)")
    options = parser.parse_args()
    demo_home = options.demo_home or (
        Path(os.environ["SELFEXPLORE_HOME"]) if "SELFEXPLORE_HOME" in os.environ else None
    )
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="selfexplore-bench-rounds-", ignore_cleanup_errors=True) as folder:
        store = Store(Path(folder) / "store")
        os.environ["SELFEXPLORE_HOME"] = str(store.root)
        airflow = LocalAirflow(Path(folder) / "airflow", free_port())
        try:
            rounds = run_rounds(airflow, store, options.sizes, options.seed, quick=options.quick)
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            airflow.stop()
        print_rows([*rows_of(options.sizes, rounds), *(demo_rows(Path(demo_home)) if demo_home else [])])
    return 0


if __name__ == "__main__":
    sys.exit(main())
