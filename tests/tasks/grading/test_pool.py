"""Math-Verify in subprocesses: deadline, death and reuse."""

from __future__ import annotations

import os
import signal
import time

import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.grading.pool import SymbolicOptions, SymbolicPool, SymbolicTask

FAST = SymbolicTask("$x+1$", "$1+x$")


def test_starts_no_process_before_the_first_task() -> None:
    with SymbolicPool(timeout_s=5, workers=1) as pool:
        assert pool.compare([]) == []
        assert not pool.is_started


def test_results_keep_their_order_over_two_workers() -> None:
    tasks = [FAST, SymbolicTask("$x$", "$y$")] * 6
    with SymbolicPool(timeout_s=30, workers=2) as pool:
        assert pool.compare(tasks) == ["equal_symbolic", "unequal_symbolic"] * 6


def test_a_late_task_costs_its_worker_and_nothing_else() -> None:
    huge = SymbolicTask("$2$", "$9^{9^{9^{9}}}$")
    with SymbolicPool(timeout_s=2, workers=1) as pool:
        start = time.monotonic()
        first, second, third = pool.compare([FAST, huge, FAST])
        assert (first, third) == ("equal_symbolic", "equal_symbolic")
        assert second in ("timeout", "unequal_symbolic", "error")
        assert time.monotonic() - start < 60


def test_a_stopped_worker_is_killed_at_the_deadline_and_replaced() -> None:
    with SymbolicPool(timeout_s=1, workers=1) as pool:
        assert pool.compare([FAST]) == ["equal_symbolic"]
        worker = pool._workers[0].process
        os.kill(worker.pid, signal.SIGSTOP)
        assert pool.compare([FAST]) == ["timeout"]
        assert worker.returncode == -signal.SIGKILL
        assert pool.compare([FAST]) == ["equal_symbolic"]


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


def test_a_task_out_of_time_leaves_its_worker_alive() -> None:
    endless = SymbolicTask("$2$", r"$\prod_{k=1}^{99999} \sqrt{k^3+1}$")
    with SymbolicPool(timeout_s=4, workers=1) as pool:
        assert pool.compare([FAST]) == ["equal_symbolic"]
        worker = pool._workers[0].process
        assert pool.compare([endless, FAST]) == ["timeout", "equal_symbolic"]
        assert pool._workers[0].process is worker
