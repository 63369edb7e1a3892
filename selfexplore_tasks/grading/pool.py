"""Math-Verify in subprocesses with a hard deadline and a memory limit.

Plain subprocesses with JSON lines over pipes, not ``multiprocessing``: its ``spawn`` would import the caller's
``__main__`` again (Airflow's, a user's script, none at all for standard input), and nothing that has read hostile
text can send us a pickle.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.grading.limits import over_limit
from selfexplore_tasks.grading.worker import Outcome

STARTUP_S = 120.0
"""Longest start of a worker: importing sympy takes 2 s on an idle machine, far more on a busy one."""
MEMORY_BYTES = 1024**3
"""Address space of a worker; sympy itself takes about 64 MiB."""
GIVE_UP_SHARE, KILL_SHARE = 0.7, 0.9
"""Parts of ``timeout_s`` after which a worker gives up by itself, and after which it is killed."""

SymbolicReason = Literal[
    "equal_symbolic", "unequal_symbolic", "unparsed", "timeout", "error", "too_long", "too_complex"
]


@dataclass(frozen=True)
class SymbolicOptions:
    """How Math-Verify reads and compares (its documentation explains each); the defaults are its own."""

    match_types: tuple[Literal["latex", "expr"], ...] = ("latex", "expr")
    precision: int = 6
    strict: bool = True
    allow_set_relation_comp: bool = False


@dataclass(frozen=True)
class SymbolicTask:
    """One comparison; the order matters to Math-Verify, which is not symmetric."""

    gold: str
    prediction: str
    options: SymbolicOptions = SymbolicOptions()


class _Worker:
    """One subprocess, starting, idle or busy with one task until ``deadline`` (monotonic seconds)."""

    def __init__(self, give_up_s: float, memory_bytes: int) -> None:
        root = str(Path(__file__).resolve().parents[2])
        known = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([root, known] if known else [root])
        # What sympy finds may depend on the order of its sets.
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "selfexplore_tasks.grading.worker", str(memory_bytes), str(give_up_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.is_ready = False
        self.task_index: int | None = None
        self.deadline = time.monotonic() + STARTUP_S
        self._received = b""

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        if self.process.stdout is None:
            raise ValueError("the worker has no output pipe")
        return self.process.stdout.fileno()

    def send(self, index: int, request: dict[str, Any], seconds: float) -> None:
        """Give the worker a request; if it is dead, ``receive`` says so."""
        self.task_index, self.deadline = index, time.monotonic() + seconds
        if self.process.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()

    def receive(self) -> dict[str, Any] | None:
        """Read what has arrived; a reply once its line is complete. Raises EOFError if the worker died."""
        data = os.read(self.fileno(), 65_536)
        if not data:
            raise EOFError("the worker ended")
        self._received += data
        if not self._received.endswith(b"\n"):
            return None
        reply: dict[str, Any] = json.loads(self._received)
        self._received = b""
        return reply

    def stop(self) -> None:
        """Kill the process and free its pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class SymbolicPool:
    """Runs comparisons in up to ``workers`` subprocesses, started when the first comparison comes."""

    def __init__(self, *, timeout_s: float, workers: int, memory_bytes: int = MEMORY_BYTES) -> None:
        if timeout_s <= 0 or workers < 1:
            raise ValueError(f"timeout_s={timeout_s} must be positive and workers={workers} at least 1")
        self._timeout_s, self._size, self._memory_bytes = timeout_s, workers, memory_bytes
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_started(self) -> bool:
        """Whether any subprocess runs."""
        return bool(self._workers)

    def close(self) -> None:
        """Kill the subprocesses; the pool may be used again and then starts new ones."""
        while self._workers:
            self._workers.pop().stop()

    def compare(self, tasks: Sequence[SymbolicTask]) -> list[SymbolicReason]:
        """Return the outcome of every task, in order.

        ``unparsed``: Math-Verify cannot read one of the two. ``timeout``: the task was not finished in time, and
        where it could not be interrupted cost its worker, which is replaced. ``error``: the worker died or
        Math-Verify failed. ``too_long``, ``too_complex``: not even sent (see ``limits``). Raises UserError if
        workers do not start.
        """
        limits = [over_limit(task.gold) or over_limit(task.prediction) for task in tasks]
        within = [_comparison(task) for task, limit in zip(tasks, limits, strict=True) if limit is None]
        replies = iter(self._ask(within))
        return [limit or cast(SymbolicReason, next(replies)) for limit in limits]

    def can_parse(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether Math-Verify can read it as LaTeX in the time and memory a comparison has."""
        within = [text for text in texts if over_limit(text) is None]
        outcomes = dict(zip(within, self._ask([{"text": f"${text}$"} for text in within]), strict=True))
        return [outcomes.get(text) == "parsed" for text in texts]

    def _ask(self, requests: Sequence[dict[str, Any]]) -> list[Outcome]:
        """Return the outcome of every request, in order."""
        outcomes: list[Outcome] = ["error"] * len(requests)
        waiting = deque(range(len(requests)))
        busy = len(requests)
        try:
            while busy:
                self._drop_dead()
                while len(self._workers) < min(self._size, busy):
                    self._workers.append(_Worker(GIVE_UP_SHARE * self._timeout_s, self._memory_bytes))
                for worker in self._idle():
                    if waiting:
                        index = waiting.popleft()
                        worker.send(index, requests[index], KILL_SHARE * self._timeout_s)
                for index, outcome in self._wait():
                    outcomes[index] = outcome
                    busy -= 1
        except BaseException:
            # A worker left busy would answer the next call with this call's result.
            self.close()
            raise
        return outcomes

    def _drop_dead(self) -> None:
        """Forget idle workers that something else ended, so that no task is lost to them."""
        for worker in self._idle():
            if worker.process.poll() is not None:
                self._discard(worker)

    def _idle(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.is_ready and worker.task_index is None]

    def _wait(self) -> list[tuple[int, Outcome]]:
        """Wait until a worker replies, dies or is late; return the tasks that ended."""
        active = [worker for worker in self._workers if not worker.is_ready or worker.task_index is not None]
        ended: list[tuple[int, Outcome]] = []
        with selectors.DefaultSelector() as selector:
            for worker in active:
                selector.register(worker, selectors.EVENT_READ)
            first_deadline = min(worker.deadline for worker in active)
            selector.select(max(0.0, first_deadline - time.monotonic()))
            readable = {key.fileobj for key, _ in selector.select(0)}
        for worker in active:
            outcome = self._read(worker) if worker in readable else None
            if outcome is None and time.monotonic() >= worker.deadline:
                outcome = "timeout"
                self._discard(worker)
            if outcome is not None and worker.task_index is not None:
                ended.append((worker.task_index, outcome))
                worker.task_index = None
        return ended

    def _read(self, worker: _Worker) -> Outcome | None:
        """Take a worker's reply: None for a greeting or half a line."""
        try:
            reply = worker.receive()
        except EOFError:
            self._discard(worker)
            return "error"
        if reply is None:
            return None
        if "ready" in reply:
            worker.is_ready = True
            worker.deadline = float("inf")
            return None
        return cast(Outcome, reply["outcome"])

    def _discard(self, worker: _Worker) -> None:
        worker.stop()
        self._workers.remove(worker)
        if not worker.is_ready:
            raise UserError(
                "Math-Verify did not start in a subprocess: check that `python -c 'import math_verify'` works "
                f"with {sys.executable} in less than {STARTUP_S:.0f} s and {self._memory_bytes // 2**20} MiB."
            )


def _comparison(task: SymbolicTask) -> dict[str, Any]:
    return {"gold": task.gold, "prediction": task.prediction, **asdict(task.options)}
