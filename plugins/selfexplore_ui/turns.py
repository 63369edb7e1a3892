"""Turns: of each user one query at a time, of all users few open downloads; whoever cannot be served now is told so."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio

from selfexplore_tasks.console.errors import ConsoleBusy

WAITING = 20
"""Queries of one user that wait for that user's running one."""
WAIT_S = 60.0
OPEN_DOWNLOADS = 4
"""Of all users of this process: each may hold 512 MiB of the disk until it is sent."""


class Turns:
    """One at a time for each name. It waits in the event loop: whoever waits takes no thread and no place."""

    def __init__(self) -> None:
        self._places: defaultdict[str, anyio.Semaphore] = defaultdict(lambda: anyio.Semaphore(1))
        self._asking: Counter[str] = Counter()

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Wait for the turn of a name; raises ConsoleBusy where that takes too long or too many wait."""
        if self._asking[name] > WAITING:
            raise ConsoleBusy(f"{WAITING} queries of yours are waiting already: try again when some have ended.")
        place = self._places[name]
        self._asking[name] += 1
        try:
            with anyio.move_on_after(WAIT_S) as waiting:
                await place.acquire()
            if waiting.cancelled_caught:
                raise ConsoleBusy("Another query of yours is still running: try again when it has ended.")
            try:
                yield
            finally:
                place.release()
        finally:
            self._asking[name] -= 1
            if not self._asking[name]:
                del self._asking[name], self._places[name]


class Downloads:
    """Who has a download open: from before its query runs until its last byte is sent."""

    def __init__(self) -> None:
        self._open: set[str] = set()

    def begin(self, name: str) -> None:
        """Take a place, for `end` to give back; raises ConsoleBusy where there is none."""
        if name in self._open:
            raise ConsoleBusy("Another download of yours is still being sent: wait until it has ended.")
        if len(self._open) >= OPEN_DOWNLOADS:
            raise ConsoleBusy("Other people's downloads are being sent: try again in a minute.")
        self._open.add(name)

    def end(self, name: str) -> None:
        self._open.discard(name)

    @contextmanager
    def unless_sent(self, name: str) -> Iterator[None]:
        """Give the place back where no answer comes of it."""
        self.begin(name)
        try:
            yield
        except BaseException:
            self.end(name)
            raise


QUERIES = Turns()
DOWNLOADS = Downloads()
