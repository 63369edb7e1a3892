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
import signal
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
RESTART_S = 10.0
"""Longest wait for a worker's next fork, which takes milliseconds."""
MEMORY_BYTES = 1024**3
"""Address space of a worker; sympy itself takes about 64 MiB."""
CPU_SHARE, WALL_SHARE = 0.5, 0.9
"""Parts of ``timeout_s``: CPU time after which a worker gives up by itself, wall time after which it is killed."""

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
    """One subprocess with its fork: starting, idle, or busy with one task until ``deadline`` (monotonic seconds)."""

    def __init__(self, cpu_s: float, memory_bytes: int) -> None:
        root = str(Path(__file__).resolve().parents[2])
        known = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([root, known] if known else [root])
        # What sympy finds may depend on the order of its sets.
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "selfexplore_tasks.grading.worker", str(memory_bytes), str(cpu_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.has_started = False
        self.fork_id: int | None = None
        self.task_index: int | None = None
        self.deadline = time.monotonic() + STARTUP_S
        self._number = 0
        self._sent = b""
        self._received = b""

    @property
    def is_idle(self) -> bool:
        """Whether a request would be answered now."""
        return self.fork_id is not None and self.task_index is None

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        if self.process.stdout is None:
            raise ValueError("the worker has no output pipe")
        return self.process.stdout.fileno()

    def send(self, index: int, request: dict[str, Any], seconds: float) -> None:
        """Give the worker a request; if it is dead, ``receive`` says so."""
        self.task_index, self.deadline = index, time.monotonic() + seconds
        self._number += 1
        self._sent = json.dumps({"number": self._number, **request}).encode() + b"\n"
        self._write()

    def receive(self) -> Outcome | None:
        """Read what has arrived: the outcome of the task, if it is there. Raises EOFError if the worker died."""
        data = os.read(self.fileno(), 65_536)
        if not data:
            raise EOFError("the worker ended")
        *lines, self._received = (self._received + data).split(b"\n")
        outcome: Outcome | None = None
        for reply in map(json.loads, lines):
            if "ready" in reply:
                self.has_started, self.fork_id = True, int(reply["ready"])
                if reply["lost"] == self._number:
                    outcome = "error"
                elif self.task_index is not None:
                    # The last fork died idle: it read the request, or left it for this one, which takes it once.
                    self._write()
            elif reply["number"] == self._number:
                outcome = cast(Outcome, reply["outcome"])
        return outcome if self.task_index is not None else None

    def _write(self) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(self._sent)
                self.process.stdin.flush()

    def interrupt(self) -> None:
        """Kill the fork that works on the task; the next one greets."""
        if self.fork_id is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.fork_id, signal.SIGKILL)
        self.fork_id, self.deadline = None, time.monotonic() + RESTART_S

    def stop(self) -> None:
        """Kill the processes and free their pipes."""
        self.process.kill()
        self.process.wait()
        self.interrupt()
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

        ``unparsed``: Math-Verify cannot read one of the two. ``timeout``: not finished in time. ``error``: the
        worker died or Math-Verify failed. ``too_long``, ``too_complex``: not even sent (see ``limits``). Raises
        UserError if workers do not start.
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
                    self._workers.append(_Worker(CPU_SHARE * self._timeout_s, self._memory_bytes))
                for worker in self._idle():
                    if waiting:
                        index = waiting.popleft()
                        worker.send(index, requests[index], WALL_SHARE * self._timeout_s)
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
        return [worker for worker in self._workers if worker.is_idle]

    def _wait(self) -> list[tuple[int, Outcome]]:
        """Wait until a worker replies, dies or is late; return the tasks that ended."""
        active = [worker for worker in self._workers if not worker.is_idle]
        ended: list[tuple[int, Outcome]] = []
        with selectors.DefaultSelector() as selector:
            for worker in active:
                selector.register(worker, selectors.EVENT_READ)
            first_deadline = min(worker.deadline for worker in active)
            readable = {key.fileobj for key, _ in selector.select(max(0.0, first_deadline - time.monotonic()))}
        for worker in active:
            outcome = self._settle(worker, worker in readable)
            if outcome is not None and worker.task_index is not None:
                ended.append((worker.task_index, outcome))
                worker.task_index = None
        return ended

    def _settle(self, worker: _Worker, is_readable: bool) -> Outcome | None:
        """Take a worker's reply, or end what is late; None if neither is due."""
        try:
            outcome = worker.receive() if is_readable else None
        except EOFError:
            self._discard(worker)
            return "error"
        if outcome is not None or time.monotonic() < worker.deadline:
            return outcome
        if worker.task_index is None:
            self._discard(worker)
        else:
            worker.interrupt()
        return "timeout"

    def _discard(self, worker: _Worker) -> None:
        worker.stop()
        self._workers.remove(worker)
        if not worker.has_started:
            raise UserError(
                "Math-Verify did not start in a subprocess: check that `python -c 'import math_verify'` works "
                f"with {sys.executable} in less than {STARTUP_S:.0f} s and {self._memory_bytes // 2**20} MiB."
            )


def _comparison(task: SymbolicTask) -> dict[str, Any]:
    return {"gold": task.gold, "prediction": task.prediction, **asdict(task.options)}
