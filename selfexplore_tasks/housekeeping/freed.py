"""What one kind of housekeeping did to one experiment."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Freed:
    """``count`` things of a kind are gone; ``size`` in bytes; ``rows`` were written anew, none of them changed."""

    experiment: str
    what: str
    count: int
    size: int = 0
    rows: int = 0


def size_of(paths: Iterable[Path]) -> int:
    """Bytes that removing these files and folders frees; a file that a fork shares (a hard link) frees none."""
    total = 0
    for path in paths:
        for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
            with suppress(FileNotFoundError):
                status = file.lstat()
                total += status.st_size if status.st_nlink == 1 and not file.is_dir() else 0
    return total
