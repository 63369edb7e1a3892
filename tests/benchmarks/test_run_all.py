"""`make bench` with small programs of our own: real subprocesses, good and bad."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

RUNNER = Path(__file__).parent / "run_all.py"
ROW = {
    "part": "pair building",
    "what": "outcome pairs",
    "size": "1x",
    "ours": "2.0 s",
    "reference": "30 s | one process",
    "ratio": 15.0,
    "goal": ">= 10",
    "is_met": True,
    "memory_mib": 1234.5,
}
GOOD = f"""
    import argparse, json, sys
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed")
    parser.add_argument("--sizes", nargs="+")
    options = parser.parse_args()
    print("half of it", file=sys.stderr)
    print("not the last line")
    print(json.dumps([{{**{ROW!r}, "size": size, "ours": "seed " + options.seed}} for size in options.sizes]))
"""
WITHOUT_OPTIONS = f"import json; print(json.dumps([{ROW!r}]))"

Bench = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """``bench(pairs=…, rounds=…, options=[…])``: run the runner over programs of this code."""

    def run(options: list[str] | None = None, **programs: str) -> subprocess.CompletedProcess[str]:
        for name, code in programs.items():
            guarded = textwrap.dedent(code)
            if "--help" not in code and "argparse" not in code:
                guarded = f"import sys\nif '--help' in sys.argv: sys.exit(0)\n{guarded}"
            (tmp_path / f"bench_{name}.py").write_text(guarded, encoding="utf-8")
        command = [sys.executable, str(RUNNER), "--programs", str(tmp_path), "--only", *programs]
        places = ["--results", str(tmp_path / "results"), "--output", str(tmp_path / "page.md")]
        return subprocess.run(
            [*command, *places, *(options or [])], capture_output=True, text=True, timeout=120, check=False
        )

    return run


def rows_of(tmp_path: Path, name: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads((tmp_path / "results" / f"{name}.json").read_text())["rows"]
    return rows


def test_rows_reach_the_table_and_the_page(bench: Bench, tmp_path: Path) -> None:
    done = bench(pairs=GOOD, options=["--sizes", "1", "4", "--seed", "7"])
    assert done.returncode == 0, done.stderr
    assert [(row["size"], row["ours"]) for row in rows_of(tmp_path, "pairs")] == [("1", "seed 7"), ("4", "seed 7")]
    assert "half of it" in done.stderr
    assert "outcome pairs" in done.stdout
    assert "not the last line" in (tmp_path / "results" / "pairs.log").read_text()
    page = (tmp_path / "page.md").read_text()
    cells = (
        "| pair building | outcome pairs | 4      | seed 7 | 30 s \\| one process | 15      | >= 10  | yes   | 1,234"
    )
    assert cells in page
    assert "Machine: " in page
    assert "torch 2." in page
    assert "--seed 7 --sizes 1 4`" in page


def test_an_option_that_a_program_lacks_is_not_passed(bench: Bench, tmp_path: Path) -> None:
    done = bench(gpu=f"import sys; assert not sys.argv[1:]; {WITHOUT_OPTIONS}", options=["--seed", "3"])
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path, "gpu") == [ROW]


def test_a_failure_becomes_a_row_and_the_next_program_runs(bench: Bench, tmp_path: Path) -> None:
    failing = "import sys; print('it broke', file=sys.stderr); sys.exit(3)"
    done = bench(pairs=failing, rounds=WITHOUT_OPTIONS)
    assert done.returncode == 1
    (row,) = rows_of(tmp_path, "pairs")
    assert (row["what"], row["ours"], row["is_met"]) == ("did not finish", "exit code 3: it broke", False)
    assert rows_of(tmp_path, "rounds") == [ROW]
    assert "it broke" in (tmp_path / "page.md").read_text()


def test_rows_of_a_program_that_then_fails_are_kept(bench: Bench, tmp_path: Path) -> None:
    done = bench(pairs=f"{WITHOUT_OPTIONS}; import sys; sys.exit('the sides differ')")
    assert done.returncode == 1
    assert rows_of(tmp_path, "pairs")[0] == ROW
    assert rows_of(tmp_path, "pairs")[1]["ours"] == "exit code 1: the sides differ"


@pytest.mark.parametrize("last", ["nothing like rows", "[1, 2]", '[{"part": "x"}]', "[]"])
def test_a_last_line_that_holds_no_rows_is_a_failure(bench: Bench, tmp_path: Path, last: str) -> None:
    done = bench(pairs=f"print({last!r})")
    assert done.returncode == 1
    assert rows_of(tmp_path, "pairs")[0]["ours"] == "its last line holds no rows"


def test_help_that_fails_is_a_failure(bench: Bench, tmp_path: Path) -> None:
    assert bench(pairs="import argparse, no_such_module").returncode == 1
    assert "No module named 'no_such_module'" in str(rows_of(tmp_path, "pairs")[0]["ours"])


def test_what_takes_too_long_is_ended_with_all_it_started(bench: Bench, tmp_path: Path) -> None:
    """Also a grandchild in a session of its own, as an Airflow is."""
    pids = tmp_path / "pids"
    endless = f"""
        import subprocess, sys, time
        sleep = [sys.executable, "-c", "import time; time.sleep(300)"]
        started = [subprocess.Popen(sleep, start_new_session=own) for own in (False, True)]
        open({str(pids)!r}, "w").write(" ".join(str(one.pid) for one in started))
        time.sleep(300)
    """
    done = bench(pairs=endless, options=["--limit", "3"])
    assert done.returncode == 1
    assert rows_of(tmp_path, "pairs")[0]["ours"] == "took longer than 3 s and was ended"
    assert not any(psutil.pid_exists(int(pid)) for pid in pids.read_text().split())


def test_only_some_programs_again(bench: Bench, tmp_path: Path) -> None:
    assert bench(pairs=WITHOUT_OPTIONS, training="import sys; sys.exit(1)").returncode == 1
    assert bench(training=WITHOUT_OPTIONS.replace("outcome pairs", "DPO")).returncode == 0
    page = (tmp_path / "page.md").read_text()
    assert "outcome pairs" in page
    assert "DPO" in page
    assert "did not finish" not in page
