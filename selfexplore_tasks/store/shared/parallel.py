"""Many small waits at once: an object store answers slowly, but many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

TRANSFERS = 8

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_parallel(work: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """The results of ``work`` in the order of the items; raises what the first of them raised."""
    listed = list(items)
    if len(listed) < 2:
        return [work(item) for item in listed]
    with ThreadPoolExecutor(TRANSFERS) as pool:
        return list(pool.map(work, listed))
