"""Atomic writes: under a temporary name, fsynced, renamed; in a shared store they are there before they are here."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from selfexplore_tasks.store.shared import shared_copy


def write_atomically(path: Path, write: Callable[[Path], None], *, once: bool = False) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then make it visible in one step.

    ``once``: where another machine was quicker to write this file of a shared store, that one's is taken.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        write(temporary)
        sync(temporary)
        copy = shared_copy(path)
        if copy is None:
            temporary.replace(path)
        else:
            copy.publish(temporary, path, once=once)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def write_json(path: Path, content: dict[str, Any], *, once: bool = False) -> None:
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    write_text(path, text, once=once)


def write_text(path: Path, text: str, *, once: bool = False) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write, once=once)


def remove_file(path: Path) -> None:
    """Remove a file of the store everywhere; one that is gone is fine."""
    copy = shared_copy(path)
    if copy is None:
        path.unlink(missing_ok=True)
    else:
        copy.remove_file(path)


def remove_folder(folder: Path) -> None:
    """Remove a folder of the store everywhere, as far as it can be removed here."""
    copy = shared_copy(folder)
    if copy is not None:
        copy.remove_folder(folder)
    shutil.rmtree(folder, ignore_errors=True)


def temporary_beside(path: Path) -> Path:
    """A name that nobody else takes: containers that share a folder may have the same process ids.

    Housekeeping knows ``.<name>.*.tmp``.
    """
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}.tmp")


def sync(path: Path) -> None:
    """Let a file, or a folder's list of names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
