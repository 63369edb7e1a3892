"""Grading beside generation: a thread grades what has arrived while the engine goes on with the rest.

One thread, because a grader is used by one at a time; what waits is graded together, so that all its subprocesses have
work. Little of it needs Python's lock: symbolic comparisons run in the subprocesses.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from selfexplore_tasks.grading import Grade, Grader, GradeRequest

BATCH = 256
"""Texts of one call of the grader, at most: what waits behind a slow comparison."""
CLOSE_S = 5.0
"""Longest wait for a call that is under way when its grades are no longer wanted."""

Key = TypeVar("Key")


class GradingThread(Generic[Key]):
    """Grades texts under keys. The thread starts with the first text; ``waiting`` counts grades not yet taken."""

    def __init__(self, grader: Grader) -> None:
        self._grader = grader
        self._asked: SimpleQueue[tuple[Key, GradeRequest] | None] = SimpleQueue()
        self._graded: SimpleQueue[list[tuple[Key, Grade]] | BaseException] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.waiting = 0

    def put(self, texts: Sequence[tuple[Key, GradeRequest]]) -> None:
        """Queue texts; returns at once."""
        if texts and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="grading", daemon=True)
            self._thread.start()
        self.waiting += len(texts)
        for text in texts:
            self._asked.put(text)

    def take(self, *, block: bool) -> list[tuple[Key, Grade]]:
        """Return the grades that are there, with ``block`` at least one; raises what the grader raised."""
        taken: list[tuple[Key, Grade]] = []
        while self.waiting > len(taken):
            try:
                found = self._graded.get(block and not taken)
            except Empty:
                break
            if isinstance(found, BaseException):
                raise found
            taken += found
        self.waiting -= len(taken)
        return taken

    def close(self) -> None:
        """End the thread; texts that wait are not graded."""
        if self._thread is not None:
            # The thread takes from here too: never wait for what it may have taken.
            with suppress(Empty):
                while True:
                    self._asked.get_nowait()
            self._asked.put(None)
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                grades = self._grader.grade([request for _, request in batch])
                self._graded.put([(key, grade) for (key, _), grade in zip(batch, grades, strict=True)])
        except BaseException as error:
            # Whoever takes the grades has to know.
            self._graded.put(error)

    def _next_batch(self) -> list[tuple[Key, GradeRequest]] | None:
        """Wait for a text; return it with those that are there too, or None at the end."""
        batch: list[tuple[Key, GradeRequest]] = []
        while len(batch) < BATCH:
            try:
                text = self._asked.get(block=not batch)
            except Empty:
                break
            if text is None:
                return None
            batch.append(text)
        return batch
