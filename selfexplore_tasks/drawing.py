"""Texts drawn and graded as one stream: many jobs side by side, each going on as soon as its own texts are graded.

A job is a generator: it yields an ``Ask``, is sent the graded texts, and returns its result. Jobs are started in
groups (the stages' chunks). Within a group equal asks, the same prompt with the same seed, are drawn once and answered
together. While the engine works, a thread grades what has ended.

Where requests may join others in the making (vLLM) a job's next request goes to the engine at once. Where they may not
(transformers) a group's requests go together, when the group's last ones are graded, while the engine works on another
group: so a group's batches, and with them its texts to the last bit, depend on the group alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

from selfexplore_tasks.grading import Grade, Grader, GradeRequest
from selfexplore_tasks.grading_thread import GradingThread

if TYPE_CHECKING:
    from selfexplore_tasks.engines.protocol import Completion, Engine, GenerationRequest

BACKLOG = 2_000
"""Ungraded texts above which no new group is begun: grading is what is slow then."""

Result = TypeVar("Result")


class Ask(NamedTuple):
    """What a job wants: the request's draws, graded against ``gold_answer``."""

    request: GenerationRequest
    gold_answer: str


class Drawn(NamedTuple):
    """One draw and its grade."""

    completion: Completion
    grade: Grade


Job = Generator[Ask, list[Drawn], Result]


class Done(NamedTuple, Generic[Result]):
    """The result of job ``place`` (0-based) of a group."""

    group: int
    place: int
    result: Result


@dataclass(eq=False)
class _Order(Generic[Result]):
    """A request in the making, or made: ``places`` of the jobs that wait for it, ``ticket`` once it is submitted."""

    group: _Group[Result]
    ask: Ask
    ticket: int = -1
    places: list[int] = field(default_factory=list)
    found: dict[int, Drawn] = field(default_factory=dict)

    @property
    def is_made(self) -> bool:
        return len(self.found) == self.ask.request.n

    def answer(self) -> list[Drawn]:
        return [self.found[index] for index in range(self.ask.request.n)]


@dataclass(eq=False)
class _Group(Generic[Result]):
    """Jobs started together; ``answers`` are what is not sent to its job yet (None starts a job)."""

    number: int
    jobs: Sequence[Job[Result]]
    answers: dict[int, list[Drawn] | None]
    orders: dict[Ask, _Order[Result]] = field(default_factory=dict)
    in_the_making: int = 0


@dataclass(frozen=True, eq=False)
class _Text(Generic[Result]):
    """Where a grade belongs."""

    order: _Order[Result]
    index: int
    completion: Completion


class Drawing(Generic[Result]):
    """Runs jobs on an engine and a grader; use as a context manager.

    ``on_drawn`` is called with the number of texts drawn since the last call.
    """

    def __init__(self, engine: Engine, grader: Grader, on_drawn: Callable[[int], None] | None = None) -> None:
        self._engine = engine
        self._grading: GradingThread[_Text[Result]] = GradingThread(grader)
        self._on_drawn = on_drawn
        self._orders: dict[int, _Order[Result]] = {}  # those in the making, by the engine's ticket
        self._undrawn = 0
        self._done: list[Done[Result]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._undrawn:
                self._engine.abandon()
        finally:
            self._grading.close()

    @property
    def is_low(self) -> bool:
        """Whether the engine could do with another group."""
        if self._grading.waiting >= BACKLOG:
            return False
        # An idle engine may not be loaded yet.
        return not self._undrawn or (self._engine.is_continuous and self._undrawn < self._engine.width)

    def start(self, group: int, jobs: Sequence[Job[Result]]) -> None:
        """Begin a group of jobs; ``group`` is a number of its own. Raises PromptTooLong, and what a job raises."""
        self._resume(_Group(group, jobs, dict.fromkeys(range(len(jobs)))))

    def advance(self) -> list[Done[Result]]:
        """Let the engine work, or wait for a grade; return the jobs that have come to their end."""
        if self._undrawn:
            self._step()
        for text, grade in self._grading.take(block=not self._undrawn and not self._done):
            text.order.found[text.index] = Drawn(text.completion, grade)
            if text.order.is_made:
                self._answer(text.order)
        done, self._done = self._done, []
        return done

    def _step(self) -> None:
        ended = self._engine.step()
        texts = []
        for ticket, index, completion in ((one.ticket, one.index, one.completion) for one in ended):
            order = self._orders[ticket]
            request = GradeRequest(completion.text, order.ask.gold_answer, completion.finish_reason)
            texts.append((_Text(order, index, completion), request))
        self._grading.put(texts)
        self._undrawn -= len(ended)
        if ended and self._on_drawn is not None:
            self._on_drawn(len(ended))

    def _answer(self, order: _Order[Result]) -> None:
        """Answer the jobs that wait for a request; they go on now, or with the rest of their group."""
        del self._orders[order.ticket]
        group = order.group
        group.answers |= dict.fromkeys(order.places, order.answer())
        group.in_the_making -= 1
        if self._engine.is_continuous or not group.in_the_making:
            self._resume(group)

    def _resume(self, group: _Group[Result]) -> None:
        """Send jobs their answers, in order of the jobs, and submit what they ask for that nobody asked before."""
        ready = deque(sorted(group.answers.items()))
        group.answers = {}
        fresh: list[_Order[Result]] = []
        while ready:
            place, answer = ready.popleft()
            try:
                # A generator takes None only before it has started.
                ask = group.jobs[place].send(answer)  # type: ignore[arg-type]
            except StopIteration as end:
                self._done.append(Done(group.number, place, end.value))
                continue
            order = group.orders.get(ask)
            if order is None:
                order = group.orders[ask] = _Order(group, ask)
                fresh.append(order)
            if order.is_made:
                ready.append((place, order.answer()))
            else:
                order.places.append(place)
        if fresh:
            self._submit(group, fresh)

    def _submit(self, group: _Group[Result], fresh: Sequence[_Order[Result]]) -> None:
        requests = [order.ask.request for order in fresh]
        for ticket, order in zip(self._engine.submit(requests), fresh, strict=True):
            order.ticket = ticket
            self._orders[ticket] = order
        group.in_the_making += len(fresh)
        self._undrawn += sum(request.n for request in requests)


def run_jobs(
    engine: Engine, grader: Grader, jobs: Sequence[Job[Result]], on_done: Callable[[int], None] | None = None
) -> list[Result]:
    """Run jobs as one group; return their results in order. ``on_done`` is told how many ended since the last call."""
    results: dict[int, Result] = {}
    with Drawing[Result](engine, grader) as drawing:
        drawing.start(0, jobs)
        while len(results) < len(jobs):
            done = drawing.advance()
            results |= {one.place: one.result for one in done}
            if done and on_done is not None:
                on_done(len(done))
    return [results[place] for place in range(len(jobs))]
