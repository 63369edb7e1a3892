"""Jobs on a stream of draws: what goes to the engine together, what is shared, and what an error leaves behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from scripted_engine import ScriptedEngine
from selfexplore_tasks.drawing import Ask, Drawing, Job, run_jobs
from selfexplore_tasks.engines.protocol import Completion, GenerationRequest
from selfexplore_tasks.grading import Grader

HIT, MISS = "The answer is 23", "The answer is 9"


@pytest.fixture
def grader() -> Iterator[Grader]:
    with Grader(answer_phrase="The answer is") as opened:
        yield opened


def ask(seed: int, n: int = 1) -> Ask:
    return Ask(GenerationRequest((5, 6), n, 1.0, 1.0, 8, (), seed), "23")


def until_right(seed: int) -> Job[int]:
    """Ask for one draw after the other until one is right; returns how many it took."""
    tries = 1
    while not (yield ask(seed + tries))[0].grade.is_correct_strict:
        tries += 1
    return tries


def seeds(engine: ScriptedEngine) -> list[list[int]]:
    return [[request.seed for request in requests] for requests in engine.requests]


def test_a_group_goes_on_together_where_requests_may_not_join(grader: Grader) -> None:
    engine = ScriptedEngine([[MISS], [HIT]])
    assert run_jobs(engine, grader, [until_right(10), until_right(20)]) == [2, 2]
    assert seeds(engine) == [[11, 21], [12, 22]]


def test_a_job_goes_on_alone_where_they_may(grader: Grader) -> None:
    engine = ScriptedEngine([[MISS], [HIT], [HIT]], is_continuous=True)
    assert run_jobs(engine, grader, [until_right(10), until_right(20)]) == [2, 2]
    assert sorted(map(len, seeds(engine))) == [1, 1, 2]


def test_groups_do_not_mix(grader: Grader) -> None:
    engine = ScriptedEngine([[MISS], [MISS], [HIT], [HIT]])
    with Drawing[int](engine, grader) as drawing:
        drawing.start(7, [until_right(10), until_right(20)])
        assert not drawing.is_low
        drawing.start(8, [until_right(30)])
        done = []
        while len(done) < 3:
            done += drawing.advance()
    assert sorted(done) == [(7, 0, 2), (7, 1, 2), (8, 0, 2)]
    assert seeds(engine)[:2] == [[11, 21], [31]]
    assert sorted(seeds(engine)[2:]) == [[12, 22], [32]]


def test_equal_asks_of_a_group_are_drawn_once(grader: Grader) -> None:
    def take(seed: int) -> Job[list[str]]:
        return [done.text for done, _ in (yield ask(seed, n=2))]

    drawn: list[int] = []
    engine = ScriptedEngine([[HIT, MISS], [MISS, MISS]])
    with Drawing[list[str]](engine, grader, drawn.append) as drawing:
        drawing.start(0, [take(1), take(1), take(2)])
        drawing.start(1, [take(1)])
        done = []
        while len(done) < 4:
            done += drawing.advance()
    assert dict((one[:2], one.result) for one in done) == {
        (0, 0): [HIT, MISS],
        (0, 1): [HIT, MISS],
        (0, 2): [HIT, MISS],
        (1, 0): [MISS, MISS],
    }
    assert seeds(engine) == [[1, 2], [1]]
    assert sum(drawn) == 6


def test_the_same_request_for_another_answer_is_another_ask(grader: Grader) -> None:
    def is_right(gold: str) -> Job[bool]:
        ((_, grade),) = yield ask(1)._replace(gold_answer=gold)
        return grade.is_correct_strict

    engine = ScriptedEngine([[HIT]])
    assert run_jobs(engine, grader, [is_right("23"), is_right("9")]) == [True, False]


@pytest.mark.parametrize("is_continuous", [False, True])
def test_a_group_that_has_ended_is_forgotten(grader: Grader, is_continuous: bool) -> None:
    """A stage draws millions of texts. (The grading thread holds the last ones until the next come.)"""
    drawn: list[weakref.ref[Completion]] = []

    def take(seed: int) -> Job[None]:
        drawn.extend(weakref.ref(one.completion) for one in (yield ask(seed)))

    engine = ScriptedEngine([[HIT]] * 3, is_continuous=is_continuous)
    with Drawing[None](engine, grader) as drawing:
        for group in range(3):
            drawing.start(group, [take(group)])
            while not drawing.advance():
                pass
        gc.collect()
        assert [one() for one in drawn[:2]] == [None, None]


def test_a_draw_that_is_asked_for_again_is_answered_at_once(grader: Grader) -> None:
    def twice() -> Job[bool]:
        first = yield ask(1)
        return first == (yield ask(1))

    engine = ScriptedEngine([[HIT]])
    assert run_jobs(engine, grader, [twice()]) == [True]


def test_jobs_that_ask_for_nothing_need_no_engine(grader: Grader) -> None:
    def nothing() -> Job[str]:
        return "done"
        yield

    engine = ScriptedEngine([])
    assert run_jobs(engine, grader, [nothing(), nothing()]) == ["done", "done"]
    assert run_jobs(engine, grader, []) == []


def test_an_error_in_a_job_leaves_nothing_in_the_engine(grader: Grader) -> None:
    def broken() -> Job[None]:
        yield ask(1)
        raise ValueError("broken")

    engine = ScriptedEngine([[HIT]] * 3, is_continuous=True)
    with pytest.raises(ValueError, match="broken"), Drawing[None](engine, grader) as drawing:
        drawing.start(0, [broken()])
        drawing.start(1, [broken()])
        while True:
            drawing.advance()
    assert engine.pending == 0
