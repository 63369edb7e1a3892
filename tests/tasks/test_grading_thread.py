"""Grading in a thread: every text once, under its key; slow comparisons do not hold up who asks; errors are told."""

from __future__ import annotations

import os
import signal
import threading

import psutil
import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.grading import Grade, Grader, GradeRequest
from selfexplore_tasks.grading_thread import GradingThread

LATEX = r"The answer is $x + x$"


def request(answer: str, gold: str = "23") -> GradeRequest:
    return GradeRequest(f"The answer is {answer}", gold, "stop")


def take_all(grading: GradingThread[int], count: int) -> dict[int, Grade]:
    taken: dict[int, Grade] = {}
    while len(taken) < count:
        taken |= dict(grading.take(block=True))
    return taken


def test_every_text_is_graded_once_under_its_key() -> None:
    requests = [request(str(number), str(number % 2)) for number in range(700)]
    with Grader(answer_phrase="The answer is") as grader:
        expected = grader.grade(requests)
        grading: GradingThread[int] = GradingThread(grader)
        for start in range(0, 700, 70):
            grading.put(list(enumerate(requests))[start : start + 70])
        taken = take_all(grading, 700)
        assert (grading.waiting, grading.take(block=False), grading.take(block=True)) == (0, [], [])
        grading.close()
    assert [taken[number] for number in range(700)] == expected


def test_asking_does_not_wait_for_the_comparison() -> None:
    """The subprocess has to start first, which takes far longer than coming back here."""
    with Grader(answer_phrase="The answer is", timeout_s=30) as grader:
        grading: GradingThread[int] = GradingThread(grader)
        grading.put([(0, GradeRequest(LATEX, "$2x$", "stop"))])
        assert grading.take(block=False) == []
        assert grading.waiting == 1
        assert take_all(grading, 1)[0].reason == "equal_symbolic"
        grading.close()


def test_a_grader_process_that_dies_costs_its_text_alone() -> None:
    with Grader(answer_phrase="The answer is", timeout_s=30) as grader:
        grading: GradingThread[int] = GradingThread(grader)
        grading.put([(0, GradeRequest(LATEX, "$2x$", "stop"))])
        take_all(grading, 1)
        for process in psutil.Process().children(recursive=True):
            if "selfexplore_tasks.grading.worker" in process.cmdline():
                os.kill(process.pid, signal.SIGKILL)
        grading.put([(1, GradeRequest(LATEX, "$3x$", "stop")), (2, request("23"))])
        taken = take_all(grading, 2)
        assert taken[1].reason in ("unequal_symbolic", "error")
        assert taken[2].is_correct_strict
        grading.close()


def test_what_the_grader_raises_reaches_who_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where sympy is not installed: its subprocesses do not start."""
    with Grader(answer_phrase="The answer is") as grader:
        monkeypatch.setattr("sys.executable", "/bin/false")
        grading: GradingThread[int] = GradingThread(grader)
        grading.put([(0, GradeRequest(LATEX, "$2x$", "stop"))])
        with pytest.raises(UserError, match="Math-Verify did not start"):
            grading.take(block=True)
        grading.close()


def test_closing_ends_the_thread_and_drops_what_waits() -> None:
    with Grader(answer_phrase="The answer is") as grader:
        grading: GradingThread[int] = GradingThread(grader)
        grading.put([(number, request("1")) for number in range(10_000)])
        grading.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "grading"]
