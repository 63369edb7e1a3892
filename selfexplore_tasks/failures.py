"""Why a stage ended: its exit codes, and a sentence for what befell it from outside (memory, disk, network).

The command turns an error into an exit code here; the launcher and the Dags read the code and decide what is tried
again: memory (with smaller batches), a lost connection and a crash are; the user's error, bad data and a full disk are
not, for nothing would change by itself.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path

from selfexplore_tasks.errors import UserError

BATCH_DIVISOR_VARIABLE = "SELFEXPLORE_BATCH_DIVISOR"
RESUMES = "then run it again: it goes on from the last committed chunk or checkpoint"
REASON_CHARACTERS = 200

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
LOST = frozenset({errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO})
# Libraries in Rust and C++ raise errors of their own, with the system's words in them.
FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "File too large", "PytorchStreamWriter failed writing")
LOST_TEXTS = ("Input/output error", "Read-only file system", "Stale file handle")
MEMORY_TEXTS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
# By name, in any library: builtins, requests, httpx; torch and duckdb.
CONNECTION_TYPES = frozenset({"ConnectionError", "TransportError", "Timeout", "TimeoutError"})
MEMORY_TYPES = frozenset({"MemoryError", "OutOfMemoryError", "OutOfMemoryException"})
OFFLINE_TYPE = "OfflineModeIsEnabled"


class ExitCode(IntEnum):
    """What the command's exit code says; anything else is a crash."""

    DONE = 0
    FAILED = 1
    USER_ERROR = 2
    OUT_OF_MEMORY = 3
    STORE_LOST = 4
    CONNECTION_LOST = 5
    BAD_DATA = 6


class StalledError(Exception):
    """A stage made no progress for too long and was ended."""


def failure_of(error: Exception, store: Path) -> tuple[ExitCode, str] | None:
    """The exit code and the sentence for an error that came from outside; None for any other.

    ``store`` is the store's root, which may have vanished. A UserError is looked through: behind "could not be read
    from the Hub" may be a lost connection or a full disk.
    """
    chain = list(_causes(error))
    is_users = isinstance(error, UserError)
    if any(_is_full(one) for one in chain):
        return (
            ExitCode.STORE_LOST,
            f"The disk is full ({_reason(chain[-1])}): free space for {store}, e.g. with `selfexplore housekeeping`, "
            f"{RESUMES}.",
        )
    if not is_users and (any(_is_lost(one) for one in chain) or _has_vanished(chain, store)):
        return (
            ExitCode.STORE_LOST,
            f"The store {store} was lost ({_reason(chain[-1])}): bring its disk back, {RESUMES}.",
        )
    if not is_users and any(is_memory(one) for one in chain):
        return (
            ExitCode.OUT_OF_MEMORY,
            f"Memory ran out ({_reason(error)}): set {BATCH_DIVISOR_VARIABLE}=2 or more for smaller batches (Airflow "
            f"does so by itself), {RESUMES}.",
        )
    if _is_connection_lost(chain):
        if is_users:
            return ExitCode.CONNECTION_LOST, str(error)
        return (
            ExitCode.CONNECTION_LOST,
            f"The connection was lost ({_reason(chain[-1])}): see that the network is there, {RESUMES}.",
        )
    return None


def batch_divisor(environment: Mapping[str, str] = os.environ) -> int:
    """By how much batches are made smaller, because an earlier try ran out of memory; 1 = not at all.

    Raises UserError for anything but a whole number of at least 1.
    """
    text = environment.get(BATCH_DIVISOR_VARIABLE) or "1"
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{BATCH_DIVISOR_VARIABLE} must be a whole number of at least 1, got {text!r}.")
    return int(text)


def is_memory(error: BaseException) -> bool:
    """Whether memory of the GPU or the host ran out; imports nothing, so it may run where torch is not."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return bool(MEMORY_TYPES & _type_names(error)) or any(text in str(error).lower() for text in MEMORY_TEXTS)


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(text in str(error) for text in FULL_TEXTS)


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in LOST:
        return True
    return any(text in str(error) for text in LOST_TEXTS)


def _has_vanished(chain: list[BaseException], store: Path) -> bool:
    """Whether a file was not found because the whole store is not there."""
    return not store.is_dir() and any(
        isinstance(one, OSError) or type(one).__module__.endswith("duckdb") for one in chain
    )


def _is_connection_lost(chain: list[BaseException]) -> bool:
    if any(OFFLINE_TYPE in _type_names(one) for one in chain):
        return False  # switched off by the user
    return any(CONNECTION_TYPES & _type_names(one) or _is_server_error(one) for one in chain)


def _is_server_error(error: BaseException) -> bool:
    """An answer that another try may change: the server's own fault, or too many requests."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return isinstance(status, int) and (status >= 500 or status == 429)


def _type_names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _reason(error: BaseException) -> str:
    text = next(iter(str(error).strip().splitlines()), "").rstrip(".") or type(error).__name__
    return text[:REASON_CHARACTERS]
