"""Notices a stage that makes no progress any more: it wrote no line, and no file of it in the store changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from selfexplore_tasks.failures import StalledError
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.removal import stage_parts, table_dirs


class Watchdog:
    """Call ``saw_line`` with every line, ``check`` now and then; ``stall_s`` is in seconds, 0 = never stalled.

    Files are looked at only when no line came for so long. Parts are not named after a shard: while other shards of
    the stage commit chunks, a stalled one counts as working.
    """

    def __init__(self, store: Store, slug: str, round_number: int, stage: str, stall_s: float) -> None:
        self._store, self._slug, self._round, self._stage = store, slug, round_number, stage
        self._stall_s = stall_s
        self._last = time.monotonic()

    def saw_line(self) -> None:
        self._last = time.monotonic()

    def check(self) -> None:
        """Raise StalledError if neither a line nor a file came for ``stall_s`` seconds."""
        if not self._stall_s or time.monotonic() - self._last <= self._stall_s:
            return
        unchanged_s = time.time() - max(self._changes(), default=0.0)
        if unchanged_s > self._stall_s:
            raise StalledError(
                f"stage {self._stage} of round {self._round} made no progress for {self._stall_s:.0f} s and was ended: "
                "it goes on from its last chunk or checkpoint; SELFEXPLORE_STALL_S allows more seconds (0 = any)"
            )
        self._last = time.monotonic() - max(0.0, unchanged_s)

    def _changes(self) -> Iterator[float]:
        """Times (seconds since the epoch) at which the stage's parts, checkpoints and models changed."""
        models = self._store.model_dir(self._slug, f"{self._round}/any").parent
        # os.walk passes over folders that vanish meanwhile, as those of a training run do.
        paths = [Path(folder, name) for folder, _, names in os.walk(models) for name in names]
        for folder in table_dirs(self._store, self._slug, self._round):
            paths += stage_parts(folder, self._stage)
        for path in paths:
            with suppress(FileNotFoundError):
                yield path.lstat().st_mtime
