"""What every benchmark prints: rows of one table, as JSON on the last line of standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One comparison. ``ours`` and ``reference`` carry their units; ``ratio`` is oriented as ``goal`` says."""

    part: str
    """What the benchmark measures, e.g. "pair building"."""
    what: str
    size: str
    """E.g. "1x"."""
    ours: str
    reference: str
    ratio: float | None
    goal: str
    """E.g. ">= 10"; "" where none was set."""
    is_met: bool | None
    """None where there is no goal at this size."""
    memory_mib: float | None = None
    """Peak resident memory of ours."""


def print_rows(rows: Sequence[Row]) -> None:
    """Print the rows for `make bench` to read; progress goes to standard error."""
    sys.stderr.flush()
    print(json.dumps([asdict(row) for row in rows]), flush=True)
