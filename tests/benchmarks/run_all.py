"""Run every benchmark, print one table, and write it with the machine and the date to docs/benchmarks.md.

What a program printed stays in .run/bench: with ``--only`` the others' rows are taken from there.

    python tests/benchmarks/run_all.py --only pairs rounds
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

import psutil

from bench_table import Outcome, as_markdown, as_text, commit_of
from rows import Row
from selfexplore_tasks.processes import end_group, end_trees

REPOSITORY = Path(__file__).resolve().parent.parent.parent
GRACE_S = 25.0
"""A benchmark may have to stop an Airflow of its own."""


@dataclass(frozen=True)
class Program:
    """One ``bench_*.py``; ``expected_s`` on two idle cores; ``quick``: options that make it as small as can be."""

    name: str
    expected_s: float
    quick: str = ""

    @property
    def script(self) -> str:
        return f"bench_{self.name}.py"

    @property
    def limit_s(self) -> float:
        """After this many seconds it is ended: twice the expected, and never less than five minutes."""
        return max(300.0, 2 * self.expected_s)


PROGRAMS = (
    Program("pairs", 6 * 60, "--sizes 0.02 --source arithmetic --reference-problems 50"),
    Program("explore", 5 * 60, "--sizes 1"),
    Program("sampling", 6 * 60, "--sizes 1 --models tiny --repeats 1"),
    Program("training", 5 * 60, "--models arithmetic-tiny --sizes 1 --pairs 32"),
    Program("rounds", 5 * 60, "--sizes 1 --quick"),
    Program("gpu", 10),
)


@dataclass(frozen=True)
class Choices:
    """How the programs are run. An option that a program does not have is not passed to it."""

    seed: int
    sizes: tuple[str, ...]
    is_quick: bool
    figures: Path

    def arguments(self, program: Program, help_text: str) -> list[str]:
        """The options for a program that says this with ``--help``."""
        wanted = {"--seed": [str(self.seed)], "--figures": [str(self.figures)]}
        if not self.is_quick:
            wanted["--sizes"] = list(self.sizes)
        words = [word for option, values in wanted.items() if option in help_text for word in (option, *values)]
        return [*words, *(program.quick.split() if self.is_quick else [])]


def run_program(program: Program, folder: Path, choices: Choices, results: Path, limit_s: float) -> Outcome:
    """Run one program to its end or its limit and keep what it printed; a failure becomes a row."""
    script = folder / program.script
    started, begun = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    arguments, lines = [], ["", ""]
    try:
        help_text = subprocess.run(
            [sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=120, check=True
        ).stdout
        arguments = choices.arguments(program, help_text)
        code, lines = _run([sys.executable, str(script), *arguments], results / f"{program.name}.log", limit_s)
        reason = None if code == 0 else f"exit code {code}: {lines[1]}"
    except subprocess.TimeoutExpired:
        reason = f"took longer than {limit_s:.0f} s and was ended"
    except subprocess.CalledProcessError as error:
        reason = f"--help ended with exit code {error.returncode}: {_last_line(error.stderr)}"
    rows = _rows(lines[0])
    if reason is None and not rows:
        reason = "its last line holds no rows"
    if reason is not None:
        rows.append(_failure(program.name, reason))
    outcome = Outcome(
        name=program.name,
        rows=rows,
        failure=reason,
        command=" ".join(["python", _shown(script), *arguments]),
        started_at=begun,
        seconds=round(time.monotonic() - started, 1),
        commit=commit_of(REPOSITORY),
        seed=choices.seed,
        is_quick=choices.is_quick,
    )
    (results / f"{program.name}.json").write_text(json.dumps(asdict(outcome), indent=1) + "\n", encoding="utf-8")
    return outcome


def _run(command: list[str], log: Path, limit_s: float) -> tuple[int, list[str]]:
    """The exit code, and the last lines of stdout and stderr; raises TimeoutExpired once everything was ended."""
    last = ["", ""]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        readers = [
            threading.Thread(target=_follow, args=(stream, output, last, number), daemon=True)
            for number, stream in enumerate((process.stdout, process.stderr))
        ]
        for reader in readers:
            reader.start()
        try:
            code = process.wait(timeout=limit_s)
        finally:
            _end(process)
        for reader in readers:
            reader.join(timeout=5)
    return code, last


def _follow(stream: IO[str] | None, log: IO[str], last: list[str], number: int) -> None:
    for line in stream or ():
        log.write(line)
        log.flush()
        if line.strip():
            last[number] = line.strip()
            if number == 1:
                print(f"    {line.rstrip()}"[:160], file=sys.stderr, flush=True)


def _end(process: subprocess.Popen[str]) -> None:
    """End the program and all that it started, also what has a session of its own (an Airflow does)."""
    if process.poll() is None:
        end_trees([psutil.Process(process.pid)], grace_s=GRACE_S)
    end_group(process.pid, grace_s=GRACE_S)
    process.wait()


def _rows(line: str) -> list[Row]:
    """The rows on a program's last line; empty where it holds none."""
    try:
        return [Row(**row) for row in json.loads(line)]
    except (ValueError, TypeError):
        return []


def _failure(name: str, reason: str) -> Row:
    return Row(
        part=name, what="did not finish", size="", ours=reason[:200], reference="", ratio=None, goal="", is_met=False
    )


def _last_line(text: str | None) -> str:
    return ((text or "").strip().splitlines() or [""])[-1]


def _shown(script: Path) -> str:
    return str(script.relative_to(REPOSITORY)) if script.is_relative_to(REPOSITORY) else script.name


def run_all(
    programs: Sequence[Program], folder: Path, choices: Choices, results: Path, limit_s: float | None
) -> list[Outcome]:
    """Run the programs one after the other, telling how far they are."""
    results.mkdir(parents=True, exist_ok=True)
    whole, started = sum(program.expected_s for program in programs), time.monotonic()
    outcomes = []
    for number, program in enumerate(programs, start=1):
        elapsed = _clock(time.monotonic() - started)
        print(
            f"[{elapsed} of about {_clock(whole)}] {number} of {len(programs)}: {program.name}",
            file=sys.stderr,
            flush=True,
        )
        outcome = run_program(program, folder, choices, results, limit_s or program.limit_s)
        outcomes.append(outcome)
        print(f"  {outcome.failure or 'done'} after {_clock(outcome.seconds)}", file=sys.stderr, flush=True)
    return outcomes


def stored(results: Path, programs: Sequence[Program]) -> list[Outcome]:
    """What each program gave when it was last run, in the order of the programs."""
    files = [results / f"{program.name}.json" for program in programs]
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    return [Outcome(**{**content, "rows": [Row(**row) for row in content["rows"]]}) for content in contents]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[program.name for program in PROGRAMS], help="run only these")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: whether all programs work, no numbers")
    parser.add_argument("--sizes", nargs="+", default=["1", "2", "4"], help="multiples of each program's own size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="where the page goes (docs/benchmarks.md; quick: .run/bench-quick)")
    parser.add_argument("--results", type=Path, help="where the rows are kept (.run/bench; quick: .run/bench-quick)")
    parser.add_argument("--figures", type=Path, help="folder for the figures that a program draws (docs/figures)")
    parser.add_argument("--limit", type=float, help="seconds for each program (default: twice what it should take)")
    parser.add_argument("--programs", type=Path, default=Path(__file__).parent, help="folder of the programs")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every program ran to its end, 1 if one did not, 130 when interrupted."""
    options = _options(arguments)
    results = options.results or REPOSITORY / ".run" / ("bench-quick" if options.quick else "bench")
    output = options.output or (results / "benchmarks.md" if options.quick else REPOSITORY / "docs" / "benchmarks.md")
    figures = options.figures or (results if options.quick else REPOSITORY / "docs" / "figures")
    choices = Choices(options.seed, tuple(options.sizes), options.quick, figures.absolute())
    chosen = [program for program in PROGRAMS if options.only is None or program.name in options.only]
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        outcomes = run_all(chosen, options.programs, choices, results.absolute(), options.limit)
    except KeyboardInterrupt:
        print("Interrupted; what had ended is kept: go on with --only.", file=sys.stderr)
        return 130
    everything = stored(results, PROGRAMS)
    print(as_text(everything))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(as_markdown(everything), encoding="utf-8")
    print(f"\nWritten to {os.path.relpath(output)}.")
    return 1 if any(outcome.failure for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
