"""The table of all benchmarks: for the terminal, and as docs/benchmarks.md with machine, versions and commands."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import tabulate

from rows import Row
from selfexplore_tasks.processes import usable_cores
from selfexplore_tasks.store.manifests import installed_versions

HEADERS = ("part", "what", "size", "ours", "reference", "ratio", "goal", "met", "memory, MiB")


@dataclass(frozen=True)
class Outcome:
    """What one program gave when it was last run; ``failure`` says why it did not end well."""

    name: str
    rows: list[Row]
    failure: str | None
    command: str
    started_at: str
    seconds: float
    commit: str
    seed: int
    is_quick: bool


def as_text(outcomes: Sequence[Outcome]) -> str:
    """One table for the terminal."""
    return tabulate.tabulate(_cells(outcomes), headers=HEADERS, disable_numparse=True)


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """The page: machine, table, and how each part was run."""
    quick = any(outcome.is_quick for outcome in outcomes)
    warning = "**From a quick run: it shows that the programs work, its numbers mean nothing.**\n\n" if quick else ""
    escaped = [[cell.replace("|", "\\|") for cell in cells] for cells in _cells(outcomes)]
    table = tabulate.tabulate(escaped, headers=HEADERS, tablefmt="github", disable_numparse=True)
    runs = tabulate.tabulate(
        [
            (one.name, one.started_at, _minutes(one.seconds), one.commit, one.seed, f"`{one.command}`")
            for one in outcomes
        ],
        headers=("program", "started (UTC)", "took", "commit", "seed", "command"),
        tablefmt="github",
        disable_numparse=True,
    )
    return (
        "# Benchmarks\n\n"
        "Written by `make bench`; do not edit. `ratio` is oriented as `goal` says. 1x, 2x and 4x are multiples of\n"
        "each program's own size; its `--help` tells which. Memory is the peak of ours. Missed goals stay in.\n\n"
        f"{warning}{_machine()}\n\n{table}\n\n## How each part was run\n\n{runs}\n"
    )


def commit_of(repository: Path) -> str:
    """Short hash of what is checked out, ``+`` after it where files differ; "unknown" outside a checkout."""
    git = ["git", "-C", str(repository)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return "unknown"
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=False
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def gpu_names() -> list[str]:
    """Names of the GPUs as ``nvidia-smi`` gives them; none where there is no such program."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    reply = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    return [line.strip() for line in reply.stdout.splitlines() if line.strip()] if reply.returncode == 0 else []


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    versions = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    return (
        f"Machine: {_cpu_model()}, {usable_cores()} cores, {memory:.0f} GiB, "
        f"GPU: {', '.join(gpu_names()) or 'none'}; {platform.platform()}, Python {platform.python_version()}.\n\n"
        f"Versions: {versions}."
    )


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cells(outcomes: Sequence[Outcome]) -> list[list[str]]:
    return [_row_cells(row) for outcome in outcomes for row in outcome.rows]


def _row_cells(row: Row) -> list[str]:
    met = {True: "yes", False: "**no**", None: ""}[row.is_met]
    memory = "" if row.memory_mib is None else f"{row.memory_mib:,.0f}"
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    return [row.part, row.what, row.size, row.ours, row.reference, ratio, row.goal, met, memory]


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
