"""Progress with ETA: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

LOG_INTERVAL_SECONDS = 5.0


class Progress:
    """Counts ``total`` units of work; use as a context manager and call ``advance``."""

    def __init__(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._count = self._first = done
        self._started = self._last_line = time.monotonic()
        self._note = ""
        self._bar = tqdm(total=total, initial=done, desc=label, unit=unit) if sys.stderr.isatty() else None

    def advance(self, count: int, note: str = "") -> None:
        """Count more units; ``note`` (e.g. the loss) is shown behind the numbers."""
        self._count += count
        self._note = note or self._note
        if self._bar is not None:
            self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._last_line >= LOG_INTERVAL_SECONDS:
            self._log()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            self._log()

    def _log(self) -> None:
        self._last_line = time.monotonic()
        elapsed = self._last_line - self._started
        rate = (self._count - self._first) / elapsed if elapsed > 0 else 0.0
        left = f"{(self._total - self._count) / rate:.0f} s left" if rate > 0 else "time left unknown"
        share = 100 * self._count / self._total if self._total else 100.0
        note = f", {self._note}" if self._note else ""
        print(
            f"{self._label}: {self._count:,}/{self._total:,} {self._unit} ({share:.0f}%), "
            f"{rate:.1f} {self._unit}/s, {left}{note}",
            flush=True,
        )
