"""What the process of one query does: limit itself, read, answer.

The answer goes to a descriptor: ``R`` and a `QueryResult`, ``E`` and a `QueryError`, or ``D`` and what a written file
holds, each as JSON; ``G`` where a part of the tables is gone; ``X`` and a traceback where this program is wrong;
nothing where the kernel ended the process.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from selfexplore_tasks.console.answers import WRITERS, shown
from selfexplore_tasks.console.errors import QueryRefused, TablesChanged, without_paths
from selfexplore_tasks.console.limits import HARD_GRACE_S, MIB, NICENESS, OUT_OF_MEMORY_SCORE, SPARE_BYTES, Limits
from selfexplore_tasks.console.sandbox import answering
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.home import Store

Format = Literal["json", "csv", "parquet"]


FILE_ERRORS = {
    errno.EFBIG: "The answer holds a value that is larger than a file may be: cut texts with left(text, 1000).",
    errno.ENOSPC: "The server has no space left for files to download: show the rows on the page, or ask for fewer.",
}


@dataclass(frozen=True)
class Request:
    """One query; ``target`` is the file to write, for csv and parquet."""

    root: str
    slugs: list[str]
    query: str
    limits: Limits
    format: Format = "json"
    target: str | None = None

    @classmethod
    def read(cls, content: bytes) -> Request:
        fields = json.loads(content)
        return cls(**{**fields, "limits": Limits(**fields["limits"])})

    def written(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def limit_process(request: Request) -> None:
    """Let the kernel end this process at the deadline, and refuse it memory, processor time and files beyond limits."""
    os.nice(NICENESS)
    with suppress(OSError):  # a container may forbid it
        Path("/proc/self/oom_score_adj").write_text(f"{OUT_OF_MEMORY_SCORE}", encoding="ascii")
    limits = request.limits
    allowed_s = limits.seconds + HARD_GRACE_S
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, allowed_s)
    written = 0 if request.target is None else 2 * limits.answer_bytes
    for kind, value in (
        (resource.RLIMIT_DATA, _data_bytes() + limits.memory_bytes + SPARE_BYTES),
        (resource.RLIMIT_CPU, int(allowed_s * limits.threads) + 1),
        (resource.RLIMIT_FSIZE, written),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def _data_bytes() -> int:
    """Memory this process has reserved already, most of which it will never touch."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return int(fields["VmData"].split()[0]) * 1024


def answer(request: Request) -> bytes:
    """Run the query; whatever goes wrong becomes an error record."""
    limits, begun = request.limits, time.monotonic()
    try:
        with answering(Store(Path(request.root)), request.slugs, request.query, limits) as (connection, statement):
            if request.target is None:
                return b"R" + shown(connection.execute(statement), limits, begun)
            written = WRITERS[request.format](connection, statement, limits, Path(request.target))
            return b"D" + json.dumps(asdict(written)).encode()
    except TablesChanged:
        return b"G"
    except QueryRefused as refused:
        return _failed(_readable(refused, limits))
    except UserError as error:
        return _failed(QueryRefused(without_paths(str(error))))
    except (MemoryError, RecursionError):
        return _failed(too_much_memory(limits))
    except OSError as error:
        if error.errno not in FILE_ERRORS:
            raise
        return _failed(QueryRefused(FILE_ERRORS[error.errno]))


def _failed(refused: QueryRefused) -> bytes:
    return b"E" + refused.record().model_dump_json().encode()


def too_much_memory(limits: Limits) -> QueryRefused:
    return QueryRefused(
        f"The query needs more memory than the {limits.memory_bytes // MIB} MiB it may have: "
        "read fewer rows or columns, or aggregate first."
    )


def too_slow(limits: Limits) -> QueryRefused:
    return QueryRefused(
        f"The query took longer than {limits.seconds:g} s and was stopped: add a WHERE or a LIMIT, or aggregate first."
    )


def _readable(refused: QueryRefused, limits: Limits) -> QueryRefused:
    if refused.message.startswith("INTERRUPT"):
        return too_slow(limits)
    return too_much_memory(limits) if refused.message.startswith("Out of Memory") else refused
