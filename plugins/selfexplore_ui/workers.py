"""Threads of our own. Airflow's synchronous routes share a pool of 40: page requests that wait must not fill it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, get_type_hints

import anyio
import anyio.to_thread
from fastapi import HTTPException, Response
from pydantic import TypeAdapter

WAITING = 100


class Workers:
    """Runs at most ``threads`` requests at a time; more than `WAITING` in line are refused with 503."""

    def __init__(self, threads: int) -> None:
        self._limiter = anyio.CapacityLimiter(threads)

    def json(self, work: Callable[..., Any]) -> Callable[..., Awaitable[Response]]:
        """Make a route of a plain function; its result is turned into JSON in the thread too, by its return type."""
        adapter: TypeAdapter[Any] = TypeAdapter(get_type_hints(work)["return"])

        def answer(*args: Any, **kwargs: Any) -> Response:
            return Response(adapter.dump_json(work(*args, **kwargs)), media_type="application/json")

        return self._route(work, answer)

    def file(self, work: Callable[..., Response]) -> Callable[..., Awaitable[Response]]:
        """Make a route of a plain function that returns a response."""
        return self._route(work, work)

    def _route(self, work: Callable[..., Any], answer: Callable[..., Response]) -> Callable[..., Awaitable[Response]]:
        @functools.wraps(work)
        async def route(*args: Any, **kwargs: Any) -> Response:
            if self._limiter.statistics().tasks_waiting >= WAITING:
                raise HTTPException(503, "Too many requests are waiting: try again in a moment.")
            return await anyio.to_thread.run_sync(functools.partial(answer, *args, **kwargs), limiter=self._limiter)

        return route


PAGES = Workers(4)
"""Pages: the store is read by one DuckDB with two threads."""
CHANGES = Workers(2)
"""Pause, resume, cancel (which waits for stages to end) and fork."""
CONSOLE = Workers(4)
"""SQL of people, which may take long."""
