"""What each user asked the console lately: ``console/<hash of the user>.jsonl`` in the store, newest entry last.

The hash keeps names, which may be mail addresses, out of file names; whoever may read the store can read the queries.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from selfexplore_tasks.store.files import write_text
from selfexplore_tasks.store.home import Store

KEPT_ENTRIES = 200
KEPT_CHARACTERS = 20_000
"""Of one query; no longer one is run."""


@dataclass(frozen=True)
class HistoryEntry:
    """A query that was run: when (ISO time), how many rows it returned in how many seconds, or why it did not."""

    at: str
    sql: str
    rows: int | None
    seconds: float
    error: str | None = None


def append_history(
    store: Store, user: str, sql: str, *, rows: int | None, seconds: float, error: str | None = None
) -> HistoryEntry:
    """Add an entry; the oldest one leaves when there are more than 200. Safe beside other threads and processes."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry = HistoryEntry(at, sql[:KEPT_CHARACTERS], rows, round(seconds, 3), error)
    path = _file(store, user)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = [*read_history(store, user)[::-1], entry][-KEPT_ENTRIES:]
        write_text(path, "".join(f"{json.dumps(asdict(one), ensure_ascii=False)}\n" for one in kept))
    return entry


def read_history(store: Store, user: str) -> list[HistoryEntry]:
    """The entries of a user, newest first; a line that cannot be read is left out."""
    path = _file(store, user)
    if not path.exists():
        return []
    entries = [_entry(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [entry for entry in reversed(entries) if entry is not None]


def _entry(line: str) -> HistoryEntry | None:
    try:
        return HistoryEntry(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _file(store: Store, user: str) -> Path:
    return store.console_dir / f"{hashlib.sha256(user.encode(errors='replace')).hexdigest()[:32]}.jsonl"
