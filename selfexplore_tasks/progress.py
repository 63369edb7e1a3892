"""Progress with ETA: a bar on a terminal, a plain line now and then in a log, and a small record for pages."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

LOG_INTERVAL_SECONDS = 5.0
RECORD_INTERVAL_SECONDS = 1.0


@dataclass
class _Record:
    """A file that holds what was said last; written about once a second."""

    path: Path
    shard: str | None
    written: float = field(default=-RECORD_INTERVAL_SECONDS)

    def write(self, content: dict[str, object], *, is_last: bool) -> None:
        now = time.monotonic()
        if not is_last and now - self.written < RECORD_INTERVAL_SECONDS:
            return
        self.written = now
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        # Nobody's work fails because it cannot be watched, e.g. on a full disk.
        with suppress(OSError):
            temporary.write_text(json.dumps({**content, "shard": self.shard}) + "\n", encoding="utf-8")
            temporary.replace(self.path)


_record: ContextVar[_Record | None] = ContextVar("progress record", default=None)


@contextmanager
def recorded(path: Path, shard: str | None = None) -> Iterator[None]:
    """Let every `Progress` within write to ``path``, which goes at the end; ``shard`` is ``I/N`` of a shared stage."""
    path.unlink(missing_ok=True)  # of a try that was killed
    token = _record.set(_Record(path, shard))
    try:
        yield
    finally:
        _record.reset(token)
        path.unlink(missing_ok=True)


class Progress:
    """Counts ``total`` units of work; use as a context manager and call ``advance``."""

    def __init__(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._count = self._first = done
        self._started = self._last_line = time.monotonic()
        self._note = ""
        self._bar = tqdm(total=total, initial=done, desc=label, unit=unit) if sys.stderr.isatty() else None
        self._keep(is_last=False)

    def advance(self, count: int, note: str = "") -> None:
        """Count more units; ``note`` (e.g. the loss) is shown behind the numbers."""
        self._count += count
        self._note = note or self._note
        if self._bar is not None:
            self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._last_line >= LOG_INTERVAL_SECONDS:
            self._log()
        self._keep(is_last=self._count == self._total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            self._log()

    def _keep(self, *, is_last: bool) -> None:
        record = _record.get()
        if record is not None:
            rate = self._rate(time.monotonic())
            left = round((self._total - self._count) / rate, 1) if rate > 0 else None
            said = {"label": self._label, "done": self._count, "total": self._total, "unit": self._unit}
            record.write({**said, "seconds_left": left, "note": self._note or None}, is_last=is_last)

    def _rate(self, now: float) -> float:
        """Units a second since the start; 0 while nothing is known."""
        elapsed = now - self._started
        return (self._count - self._first) / elapsed if elapsed > 0 else 0.0

    def _log(self) -> None:
        self._last_line = time.monotonic()
        rate = self._rate(self._last_line)
        left = f"{(self._total - self._count) / rate:.0f} s left" if rate > 0 else "time left unknown"
        share = 100 * self._count / self._total if self._total else 100.0
        note = f", {self._note}" if self._note else ""
        print(
            f"{self._label}: {self._count:,}/{self._total:,} {self._unit} ({share:.0f}%), "
            f"{rate:.1f} {self._unit}/s, {left}{note}",
            flush=True,
        )
