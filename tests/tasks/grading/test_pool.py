"""Math-Verify in subprocesses: deadline, death and reuse."""

from __future__ import annotations

import os
import signal
import threading

import psutil
import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.grading import pool as pool_module
from selfexplore_tasks.grading.pool import SymbolicOptions, SymbolicPool, SymbolicTask

FAST = SymbolicTask("$x+1$", "$1+x$")
ENDLESS = SymbolicTask("$2$", r"$\prod_{k=1}^{99999} \sqrt{k^3+1}$")


def test_starts_no_process_before_the_first_task() -> None:
    with SymbolicPool(timeout_s=5, workers=1) as pool:
        assert pool.compare([]) == []
        assert not pool.is_started


def test_results_keep_their_order_over_two_workers() -> None:
    tasks = [FAST, SymbolicTask("$x$", "$y$")] * 6
    with SymbolicPool(timeout_s=30, workers=2) as pool:
        assert pool.compare(tasks) == ["equal_symbolic", "unequal_symbolic"] * 6


def test_a_stopped_fork_is_killed_at_the_deadline_and_the_next_takes_its_place() -> None:
    with SymbolicPool(timeout_s=1, workers=1) as pool:
        assert pool.compare([FAST]) == ["equal_symbolic"]
        (worker,) = pool._workers
        stopped = worker.fork_id
        assert stopped is not None
        os.kill(stopped, signal.SIGSTOP)
        assert pool.compare([FAST]) == ["timeout"]
        assert pool.compare([FAST, SymbolicTask("$x$", "$y$")]) == ["equal_symbolic", "unequal_symbolic"]
        assert pool._workers == [worker]
        assert worker.fork_id != stopped


def test_a_worker_that_stands_still_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "RESTART_S", 0.5)
    with SymbolicPool(timeout_s=1, workers=1) as pool:
        assert pool.compare([FAST]) == ["equal_symbolic"]
        (worker,) = pool._workers
        for process_id in (worker.process.pid, worker.fork_id or 0):
            os.kill(process_id, signal.SIGSTOP)
        assert pool.compare([FAST]) == ["timeout"]
        assert pool.compare([FAST]) == ["equal_symbolic"]
        assert worker.process.returncode == -signal.SIGKILL


def test_a_fork_that_dies_costs_the_task_it_was_at_and_no_other() -> None:
    with SymbolicPool(timeout_s=30, workers=1) as pool:
        assert pool.compare([FAST]) == ["equal_symbolic"]
        (worker,) = pool._workers
        killed = worker.fork_id or 0
        os.kill(killed, signal.SIGKILL)
        assert pool.compare([FAST]) == ["equal_symbolic"], "it died idle"
        timer = threading.Timer(1.0, os.kill, (worker.fork_id, signal.SIGKILL))
        timer.start()
        assert pool.compare([ENDLESS, FAST]) == ["error", "equal_symbolic"]
        timer.join()
        assert pool._workers == [worker]


def test_closing_leaves_no_process() -> None:
    me = psutil.Process()
    before = set(me.children(recursive=True))
    pool = SymbolicPool(timeout_s=5, workers=2)
    assert pool.compare([FAST, FAST]) == ["equal_symbolic"] * 2
    started = set(me.children(recursive=True)) - before
    assert len(started) >= 3
    pool.close()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []


def test_a_worker_that_died_while_idle_loses_no_task() -> None:
    with SymbolicPool(timeout_s=5, workers=1) as pool:
        pool.compare([FAST])
        worker = pool._workers[0].process
        worker.kill()
        worker.wait()
        assert pool.compare([FAST]) == ["equal_symbolic"]


def test_a_worker_that_cannot_start_is_a_user_error() -> None:
    with SymbolicPool(timeout_s=5, workers=1, memory_bytes=32 * 2**20) as pool:
        with pytest.raises(UserError, match="Math-Verify did not start"):
            pool.compare([FAST])
        assert not pool.is_started


def test_options_are_honoured_and_long_texts_not_sent() -> None:
    functions = ("$f(x)$", "$f(y)$")
    with SymbolicPool(timeout_s=5, workers=1) as pool:
        outcomes = pool.compare(
            [
                SymbolicTask(*functions),
                SymbolicTask(*functions, SymbolicOptions(strict=False)),
                SymbolicTask("1", "x" * 200_000),
                SymbolicTask("$2$", "$9^{9999999}$"),
            ]
        )
    assert outcomes == ["unequal_symbolic", "equal_symbolic", "too_long", "too_complex"]


def test_can_parse_tells_mathematics_from_fragments() -> None:
    texts = ["x+1", r"\frac{1}{", "[0,1)", "5 +", "(" * 40 + "1" + ")" * 40, "x+1"]
    with SymbolicPool(timeout_s=5, workers=1) as pool:
        assert pool.can_parse(texts) == [True, False, True, False, False, True]


def test_a_task_out_of_cpu_time_leaves_its_fork_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    # The wall time must not end it, however busy the machine is.
    monkeypatch.setattr(pool_module, "CPU_SHARE", 0.02)
    with SymbolicPool(timeout_s=60, workers=1) as pool:
        assert pool.compare([FAST]) == ["equal_symbolic"]
        fork_id = pool._workers[0].fork_id
        assert pool.compare([ENDLESS, FAST]) == ["timeout", "equal_symbolic"]
        assert pool._workers[0].fork_id == fork_id
