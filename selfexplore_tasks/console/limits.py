"""How much one query may take."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024**2


@dataclass(frozen=True)
class Limits:
    """Rows and bytes are those of the answer, ``seconds`` of wall time, ``memory_bytes`` DuckDB's own limit.

    An answer with more rows or bytes is cut, and says so. ``wait_seconds``: how long to wait for a free place.
    """

    rows: int = 10_000
    answer_bytes: int = 8 * MIB
    seconds: float = 30.0
    memory_bytes: int = 384 * MIB
    threads: int = 2
    wait_seconds: float = 30.0


SHOWN = Limits()
"""For what is shown on a page."""
DOWNLOADED = Limits(rows=1_000_000, answer_bytes=512 * MIB, seconds=120.0)
"""For what is written to a file."""
RUNNING_QUERIES = 2
"""Queries of one api-server that run at the same time; others wait."""
QUERY_CHARACTERS = 20_000
NICENESS, OUT_OF_MEMORY_SCORE = 5, 800
"""Where processor time or memory is short, a query gives way to Airflow and is killed before it."""
HARD_GRACE_S = 1.0
"""Seconds from DuckDB's interrupt to the kernel's kill."""
SPARE_BYTES = 256 * MIB
"""What a process may take beside DuckDB's limit: Python, the answer, what DuckDB does not count."""
