"""Subprocesses that work on tables of whole problems: the CPU work of a stage, on several cores.

Plain subprocesses with Arrow's stream format over pipes, for the reasons of ``grading.pool``. Started by ``worked``:

    python -P -m selfexplore_tasks.stages.problem_workers STAGE     # the recipe, then tables, each behind its length

A worker ends with its input, so none outlives the stage, however that ends.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import pyarrow as pa

from selfexplore_tasks.recipe import Recipe

ALONE = 8
"""So many tables or fewer are worked on in this process: starting others takes longer."""
AHEAD = 3
"""Tables that are on their way per worker, so that none waits for the reader."""
MAX_WORKERS = 16
"""Each takes about 100 MiB; reading and writing keep up with no more."""
_LENGTH_BYTES = 8


def worked(stage: str, recipe: Recipe, tables: Iterable[pa.Table], workers: int) -> Iterator[pa.Table]:
    """Yield ``work(table, recipe)`` of the stage's module for every table, in order, on up to ``workers`` cores.

    Raises ChildProcessError if a worker ends before its work is done; its own error is on standard error.
    """
    work = importlib.import_module(f"selfexplore_tasks.stages.{stage}").work
    remaining = iter(tables)
    first = list(islice(remaining, ALONE + 1))
    if workers == 1 or len(first) <= ALONE:
        yield from (work(table, recipe) for table in chain(first, remaining))
        return
    with _pool(stage, recipe, min(workers, MAX_WORKERS)) as pool:
        under_way: deque[Future[pa.Table]] = deque()
        for table in chain(first, remaining):
            under_way.append(pool.submit(table))
            if len(under_way) >= AHEAD * pool.size:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


class _Pool:
    """Running workers; a thread for each waits for its answers."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self.size = len(processes)
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for process in processes:
            self._idle.put(process)
        self.threads = ThreadPoolExecutor(self.size, thread_name_prefix="problems")

    def submit(self, table: pa.Table) -> Future[pa.Table]:
        return self.threads.submit(self._ask, table)

    def _ask(self, table: pa.Table) -> pa.Table:
        process = self._idle.get()
        try:
            if process.stdin is None or process.stdout is None:
                raise ValueError("the worker has no pipes")
            _send(process.stdin, _packed(table))
            return _unpacked(_receive(process.stdout))
        except (EOFError, BrokenPipeError) as error:
            raise ChildProcessError(
                f"A worker process ended with exit code {process.wait()} before its work was done: "
                "see the lines above; if there are none it was killed, perhaps for memory."
            ) from error
        finally:
            self._idle.put(process)


@contextmanager
def _pool(stage: str, recipe: Recipe, workers: int) -> Iterator[_Pool]:
    root, known = str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, known] if known else [root])}
    command = [sys.executable, "-P", "-m", "selfexplore_tasks.stages.problem_workers", stage]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(workers):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            processes.append(process)
            if process.stdin is not None:
                _send(process.stdin, recipe.model_dump_json().encode())
        pool = _Pool(processes)
        try:
            yield pool
        finally:
            for process in processes:
                process.kill()
            pool.threads.shutdown(cancel_futures=True)
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()


def main(stage: str) -> None:
    """Answer table after table until the input ends."""
    # What anybody prints must not land between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    recipe = Recipe.model_validate_json(_receive(sys.stdin.buffer))
    work = importlib.import_module(f"selfexplore_tasks.stages.{stage}").work
    while True:
        try:
            asked = _receive(sys.stdin.buffer)
        except EOFError:
            return
        _send(answers, _packed(work(_unpacked(asked), recipe)))


def _packed(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _unpacked(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(content).read_all()


def _send(pipe: IO[bytes], content: pa.Buffer | bytes) -> None:
    pipe.write(len(content).to_bytes(_LENGTH_BYTES, "little"))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes:
    """Raises EOFError where the other side has ended."""
    header = pipe.read(_LENGTH_BYTES)
    length = int.from_bytes(header, "little")
    content = pipe.read(length) if len(header) == _LENGTH_BYTES else b""
    if len(header) < _LENGTH_BYTES or len(content) < length:
        raise EOFError("the pipe ended")
    return content


if __name__ == "__main__":
    main(sys.argv[1])
