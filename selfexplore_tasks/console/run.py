"""Running queries for whoever serves several people: each in a process of its own, a few at a time.

The functions block: call them in a thread, never in an event loop.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from selfexplore_tasks.console.answers import Written
from selfexplore_tasks.console.child import Request, too_much_memory, too_slow
from selfexplore_tasks.console.errors import ConsoleBusy, QueryRefused, TablesChanged, without_paths
from selfexplore_tasks.console.limits import DOWNLOADED, HARD_GRACE_S, MIB, RUNNING_QUERIES, SHOWN, Limits
from selfexplore_tasks.console.statements import check_text
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.pages.model import QueryError, QueryResult
from selfexplore_tasks.store.experiments import experiment_names, load_experiment
from selfexplore_tasks.store.home import Store

START_S = 60.0
"""Longest wait for a child to begin: the first one of a server waits for its imports."""
STOP_S = 5.0
TRIES = 3
READINGS = 2
"""Of tables that change while they are read."""
COMMAND = (sys.executable, "-P", "-s", "-m", "selfexplore_tasks.console.server")
KEPT_VARIABLES = ("TZ", "LANG", "LC_ALL")


def run_query(store: Store, slugs: Sequence[str] | None, query: str, limits: Limits = SHOWN) -> QueryResult:
    """Answer one reading statement over the named experiments, or all.

    Raises:
        QueryRefused: not a statement that may run, it failed, exceeded a limit, or an experiment does not exist.
        ConsoleBusy: no place got free in time.
    """
    return QueryResult.model_validate_json(run_query_json(store, slugs, query, limits))


def run_query_json(store: Store, slugs: Sequence[str] | None, query: str, limits: Limits = SHOWN) -> bytes:
    """As `run_query`, as the JSON of a QueryResult: a server can pass it on without reading it."""
    return _ask(store, slugs, Request(str(store.root), [], query, limits))


def download(
    store: Store,
    slugs: Sequence[str] | None,
    query: str,
    kind: Literal["csv", "parquet"],
    target: Path,
    limits: Limits = DOWNLOADED,
) -> Written:
    """Write the answer to a new file; raises as `run_query`, and leaves no file then."""
    try:
        answer = _ask(store, slugs, Request(str(store.root), [], query, limits, kind, str(target.absolute())))
    except QueryRefused:
        target.unlink(missing_ok=True)
        raise
    return Written(**json.loads(answer))


def warm() -> None:
    """Start the server of queries, so that the first query need not wait for its imports."""
    _SERVER.start()


def stop() -> None:
    """Let go of the server of queries; the next query starts another."""
    _SERVER.stop()


class QueryServer:
    """The process that forks; started when first needed, and again if something ended it."""

    def __init__(self, places: int = RUNNING_QUERIES) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._starting = threading.Lock()
        self._requests: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def start(self) -> socket.socket:
        """Return the socket of a live server. A forked copy of this process starts one of its own."""
        with self._starting:
            is_live = self._process is not None and self._process.poll() is None and self._owner == os.getpid()
            if self._requests is None or not is_live:
                self._let_go()
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._process = _start_server(theirs)
                self._requests, self._owner = ours, os.getpid()
            return self._requests

    def stop(self, requests: socket.socket | None = None) -> None:
        """Let go of the server, or of the one with this socket; it ends when it has forked what it was asked to."""
        with self._starting:
            if requests in (None, self._requests):
                self._let_go()

    def _let_go(self) -> None:
        if self._requests is not None:
            self._requests.close()
        if self._process is not None and self._owner == os.getpid():
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._requests = self._process = None

    @contextmanager
    def place(self, limits: Limits) -> Iterator[None]:
        """One of the places for running queries; raises ConsoleBusy where none gets free in time."""
        if not self._places.acquire(timeout=limits.wait_seconds):
            raise ConsoleBusy(
                f"The console is busy: other queries have been running for {limits.wait_seconds:g} s; "
                "try again in a moment."
            )
        try:
            yield
        finally:
            self._places.release()

    def ask(self, request: Request) -> tuple[bytes, float]:
        """Return the answer, empty if the child was ended, and the seconds it took."""
        for _ in range(TRIES):
            requests = self.start()
            ours, theirs = socket.socketpair()
            with ours:
                with theirs, suppress(OSError):  # it died since
                    socket.send_fds(requests, [b"q"], [theirs.fileno()])
                ours.settimeout(START_S)
                with suppress(OSError):
                    if ours.recv(1):
                        begun = time.monotonic()
                        ours.sendall(request.written())
                        ours.shutdown(socket.SHUT_WR)
                        return _read(ours, request.limits), time.monotonic() - begun
            self.stop(requests)
        raise RuntimeError(f"The process that runs queries does not start: try {' '.join(COMMAND)}")


_SERVER = QueryServer()


def _ask(store: Store, slugs: Sequence[str] | None, request: Request) -> bytes:
    """Have a query answered; once more where what it was to read was deleted meanwhile."""
    check_text(request.query)
    with _SERVER.place(request.limits):
        for _ in range(READINGS):
            answer, seconds = _SERVER.ask(replace(request, slugs=_existing(store, slugs)))
            if answer != b"G":
                return _content(answer, seconds, request.limits)
    raise TablesChanged


def _existing(store: Store, slugs: Sequence[str] | None) -> list[str]:
    """The experiments asked for, or all that are there; raises QueryRefused where one is not."""
    try:
        return experiment_names(store) if slugs is None else [load_experiment(store, slug).slug for slug in slugs]
    except UserError as error:
        raise QueryRefused(without_paths(str(error).replace(f" in {store.root}", ""))) from error


def _content(answer: bytes, seconds: float, limits: Limits) -> bytes:
    if answer[:1] in (b"R", b"D"):
        return answer[1:]
    if answer[:1] == b"E":
        error = QueryError.model_validate_json(answer[1:])
        raise QueryRefused(error.message, error.position)
    if answer[:1] == b"X":
        raise RuntimeError(f"The console failed on a query: {answer[1:].decode()}")
    # The kernel ended the process: at the deadline, or for memory.
    raise too_slow(limits) if seconds >= limits.seconds else too_much_memory(limits)


def _read(answers: socket.socket, limits: Limits) -> bytes:
    """Everything until the child ends; it is killed by its own timer, so that this waits longer than that."""
    received: list[bytes] = []
    size, most = 0, limits.answer_bytes + MIB
    answers.settimeout(START_S + limits.seconds + HARD_GRACE_S)
    try:
        while data := answers.recv(MIB):
            received.append(data)
            size += len(data)
            if size > most:
                return b""
    except (ConnectionError, TimeoutError):
        return b""
    return b"".join(received)


def _start_server(requests: socket.socket) -> subprocess.Popen[bytes]:
    """Start the process that forks, without this one's environment: it holds secrets."""
    environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    environment |= {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "HOME": "/"}
    # Without threads of libraries a fork is a whole copy; arrow's own pool reserves a gigabyte.
    environment |= {"OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    return subprocess.Popen(
        [*COMMAND, str(requests.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[requests.fileno()],
        env=environment,
        cwd="/",
    )
