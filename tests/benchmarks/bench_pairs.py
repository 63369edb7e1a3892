"""Measure pair building at paper scale: 7,473 problems x 100 rationales at 1x, on every core.

    python tests/benchmarks/bench_pairs.py --sizes 1 2 4 --seed 0
    python tests/benchmarks/bench_pairs.py --sizes 0.05 --source arithmetic --reference-problems 100    # a quick look

Ours: stages rft_set and outcome_pairs as the command runs them, from the stored rationales to the committed parts,
starts of Python and checks included. Reference: ``bench_pairs_reference``, without reading and writing, at 1x (or the
smallest size) only; every row of it must be equal to ours. Memory: the largest sum over a stage's processes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

import bench_pairs_data
from bench_pairs_data import GSM8K_PROBLEMS, RATIONALES, SLUG, TIMED, forget_timed, open_store
from rows import Row, print_rows
from selfexplore_tasks.grading import Grader, GradeRequest
from selfexplore_tasks.store.home import Store

PART = "pair building"
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SELFEXPLORE_DATA") or ROOT.parent / "shared" / "data")
CACHE = Path(tempfile.gettempdir()) / "selfexplore-bench"
GRADED, GRADED_AT_ONCE = 50_000, 1_000


@dataclass(frozen=True)
class Measured:
    """Wall seconds, and the peak of the resident memory of a process and its children, summed."""

    seconds: float
    memory_mib: float


def measure(command: list[str], **environment: str) -> Measured:
    """Run a command to its end; raises CalledProcessError if it fails."""
    begun, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=sys.stderr, cwd=ROOT)
    while process.poll() is None:
        peak = max(peak, _memory(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Measured(time.perf_counter() - begun, peak / 2**20)


def _memory(pid: int) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass  # it has just ended
    return total


def build_pairs(store: Store) -> Measured:
    """Run the two stages anew."""
    forget_timed(store)
    command = [sys.executable, "-m", "selfexplore_tasks", "stage"]
    runs = []
    for stage in TIMED:
        place = ["--experiment", SLUG, "--round", "1"]
        runs.append(measure([*command, stage, *place], SELFEXPLORE_HOME=str(store.root)))
        _say(f"{stage}: {runs[-1].seconds:.1f} s, {runs[-1].memory_mib:,.0f} MiB")
    return Measured(sum(run.seconds for run in runs), max(run.memory_mib for run in runs))


def run_reference(store: Store, problems: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "reference.json"
        program = str(Path(__file__).with_name("bench_pairs_reference.py"))
        options = ["--store", str(store.root), "--problems", str(problems), "--seed", str(seed)]
        measure([sys.executable, program, *options, "--output", str(output)], PYTHONPATH=str(ROOT))
        found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        return found


def differences(store: Store, expected: dict[str, Any]) -> list[str]:
    """Name the problems of the reference whose rows are not the same in ours."""
    selections: dict[str, dict[str, str | None]] = {}
    pairs: dict[str, list[list[Any]]] = {}
    for row in _read(store, "rft_examples", "problem_id", "rationale_id", "drop_reason", "origin"):
        if row["origin"] == "sampled":
            selections.setdefault(row["problem_id"], {})[row["rationale_id"]] = row["drop_reason"]
    names = ("chosen_rationale_id", "rejected_rationale_id", "edit_distance", "drop_reason")
    for row in _read(store, "pairs", "problem_id", *names):
        pairs.setdefault(row["problem_id"], []).append([row[name] for name in names])
    return [
        problem_id
        for problem_id, result in expected.items()
        if selections.get(problem_id, {}) != result["selection"] or pairs.get(problem_id, []) != result["pairs"]
    ]


def _read(store: Store, table: str, *columns: str) -> list[dict[str, Any]]:
    [path] = store.table_dir(table, SLUG, 1).glob("part-*.parquet")
    with pq.ParquetFile(path) as part:
        return part.read(list(columns)).to_pylist()


def grading_row(store: Store, size: str) -> Row:
    """Grade a sample of the rationales in this process, and scale to all."""
    golds = {}
    for path in (store.root / "tables" / "problems").rglob("part-*.parquet"):
        with pq.ParquetFile(path) as part:
            rows = part.read(["problem_id", "gold_answer"])
        golds.update(zip(rows["problem_id"].to_pylist(), rows["gold_answer"].to_pylist(), strict=True))
    paths = sorted((store.root / "tables" / "rationales").rglob("part-*.parquet"))
    total = sum(pq.read_metadata(path).num_rows for path in paths)
    requests, verdicts = [], []
    for path in paths[:: max(1, len(paths) // 10)][:10]:
        with pq.ParquetFile(path) as part:
            for row in part.read(["problem_id", "text", "verdict"]).slice(0, GRADED // 10).to_pylist():
                requests.append(GradeRequest(row["text"], golds[row["problem_id"]], "stop"))
                verdicts.append(row["verdict"])
    with Grader(answer_phrase=bench_pairs_data.PHRASE) as grader:
        begun = time.perf_counter()
        graded = [
            grade.verdict
            for begin in range(0, len(requests), GRADED_AT_ONCE)
            for grade in grader.grade(requests[begin : begin + GRADED_AT_ONCE])
        ]
        seconds = time.perf_counter() - begun
    if graded != verdicts:
        raise SystemExit("grading: the verdicts are not those that the texts were made for")
    rate = len(requests) / seconds
    ours = f"{total / rate:.1f} s ({rate:,.0f}/s, one core, measured on {len(requests):,})"
    return Row(PART, f"grading {total:,} rationales", size, ours, "", None, "", None)


def rows_of(size: float, measured: Measured, first: tuple[float, Measured]) -> list[Row]:
    """The rows of growth and memory at one size; ``first`` is the smallest size."""
    name, rows = f"{size:g}x", []
    if size > first[0]:
        ratio, allowed = measured.seconds / first[1].seconds, 1.1 * size / first[0]
        ours, base = f"{measured.seconds:.1f} s", f"{first[1].seconds:.1f} s ({first[0]:g}x)"
        goal = f"<= {allowed:.3g}"
        rows.append(Row(PART, "growth of time", name, ours, base, ratio, goal, ratio <= allowed, measured.memory_mib))
    limit = 2048 if size <= 1 else 4096
    peak = f"{measured.memory_mib:,.0f} MiB"
    rows.append(
        Row(
            *(PART, "peak memory, all processes", name, peak, "", None, f"<= {limit} MiB"),
            measured.memory_mib <= limit,
            measured.memory_mib,
        )
    )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 2, 4], help="1 is 7,473 problems; up to 10")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", choices=["gsm8k", "arithmetic"], help="(gsm8k where shared/data has it)")
    parser.add_argument("--reference-problems", type=int, default=1_000, help="sample that the reference does; 0: none")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"where generated rationales stay ({CACHE})")
    options = parser.parse_args()
    source = options.source or ("gsm8k" if (DATA / "gsm8k" / "train.jsonl").is_file() else "arithmetic")
    rows: list[Row] = []
    first: tuple[float, Measured] | None = None
    for size in sorted(options.sizes):
        count = round(size * GSM8K_PROBLEMS)
        store = _store(options.cache, source, count, options.seed)
        measured = build_pairs(store)
        if first is None:
            first = (size, measured)
            rows.append(grading_row(store, f"{size:g}x"))
            if options.reference_problems:
                rows.append(_against_reference(store, size, count, measured, options))
        rows += rows_of(size, measured, first)
    print_rows(rows)
    return 0


def _store(cache: Path, source: str, count: int, seed: int) -> Store:
    version = hashlib.sha256(Path(bench_pairs_data.__file__).read_bytes()).hexdigest()[:8]
    root = cache / f"pairs-{source}-{count}-{seed}-{version}"
    _say(f"rationales of {count:,} problems from {source} in {root}")
    return open_store(root, source, count, data=DATA, seed=seed)


def _against_reference(store: Store, size: float, count: int, measured: Measured, options: argparse.Namespace) -> Row:
    found = run_reference(store, min(count, options.reference_problems), options.seed)
    if wrong := differences(store, found["results"]):
        raise SystemExit(f"pairs: {len(wrong)} problems differ from the reference, the first is {wrong[0]}")
    seconds = found["seconds"] * count / found["problems"]
    _say(f"{found['problems']:,} problems are equal to the reference, which took {found['seconds']:.1f} s for them")
    scaled = "" if found["problems"] == count else f" (from {found['problems']:,} problems)"
    what = f"RFT set and outcome pairs, {count:,} x {RATIONALES}"
    ratio = seconds / measured.seconds
    ours, reference = f"{measured.seconds:.1f} s", f"{seconds:.0f} s{scaled}"
    # Below 1x the start of Python is a good part of the time.
    goal, is_met = (">= 10", ratio >= 10) if size >= 1 else ("", None)
    return Row(PART, what, f"{size:g}x", ours, reference, ratio, goal, is_met, measured.memory_mib)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
