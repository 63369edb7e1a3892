"""Runs one stage as a subprocess in its own process group, and leaves nothing of it behind.

The task process of Airflow never imports torch: it starts ``python -m selfexplore_tasks stage …``, or lets a
``launch_server`` fork it, and passes its lines on. However the launcher ends (return, SIGTERM, deadline, SIGKILL), the
whole group ends with it; should even that fail, the next try ends the group recorded in the store before it starts.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn, TypeAlias

import psutil

from selfexplore_tasks import launch_guard
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.failures import BATCH_DIVISOR_VARIABLE, ExitCode, batch_divisor
from selfexplore_tasks.launch_client import ForkedGuard, ask_for_group
from selfexplore_tasks.processes import ProcessIdentity, end_group, kernel_memory_kills, usable_cores
from selfexplore_tasks.store.control import check_not_cancelled
from selfexplore_tasks.store.files import write_text
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.watchdog import Watchdog

TOKEN_VARIABLE = "SELFEXPLORE_LAUNCH_TOKEN"
STALL_VARIABLE = "SELFEXPLORE_STALL_S"
STALL_S = 1_800.0
LINE_BYTES = 16_384
QUEUED_LINES = 1_000
GRACE_S = 3.0
DRAIN_S = 2.0

Guard: TypeAlias = "subprocess.Popen[bytes] | ForkedGuard"


def run_stage_process(
    stage: str,
    *,
    experiment: str,
    round_number: int,
    shard: str | None = None,
    env: Mapping[str, str] | None = None,
    deadline_s: float | None = None,
    on_line: Callable[[str], None],
) -> int:
    """Run a stage to its end and return its exit code (`failures.ExitCode`; 128 + n if signal n ended it).

    A stage that ran out of memory is given smaller batches by its next try, until it is done. One that the kernel
    killed for memory counts as such.

    Args:
        shard: ``I/N`` for a stage that is shared among workers.
        env: added to this process's environment; ``SELFEXPLORE_PYTHON`` names another interpreter for the stage,
            ``SELFEXPLORE_STALL_S`` the seconds without progress after which it is ended (default 1800, 0 = never).
        deadline_s: seconds after which the stage is ended.
        on_line: called with every line the stage writes (stdout and stderr, cut to 16 KiB).

    Raises:
        StalledError: the stage made no progress for too long.
        TimeoutError: the deadline passed.
        SystemExit: this process got SIGTERM; the group is ended first.
        UserError: the experiment's name is not a legal one, or a person cancelled it.
    """
    environment = stage_environment(shard, env or {})
    store = Store.from_environment(environment)
    check_not_cancelled(store, experiment)
    record = _record_file(store, experiment, round_number, stage, shard)
    watchdog = Watchdog(store, experiment, round_number, stage, _stall_seconds(environment))
    divisor = max(batch_divisor(environment), _needed_divisor(record))
    environment[BATCH_DIVISOR_VARIABLE] = str(divisor)
    end_previous(record)
    arguments = ["stage", stage, "--experiment", experiment, "--round", str(round_number)]
    arguments += ["--shard", shard] if shard else []
    killed_before = kernel_memory_kills()
    code = _run_group(arguments, environment, record, deadline_s, on_line, watchdog)
    if code == 128 + signal.SIGKILL and kernel_memory_kills() > killed_before:
        on_line("error: Memory ran out: the kernel killed the stage. The next try takes smaller batches.")
        code = ExitCode.OUT_OF_MEMORY
    _remember_memory(record, code, divisor)
    return code


def stage_environment(shard: str | None, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a stage: this process's, ``extra``, and defaults that keep stages well-behaved."""
    environment = {**os.environ, **extra}
    shard_count = int(shard.split("/")[1]) if shard else 1
    environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // shard_count)))
    # The tokenizers library warns about forks unless told; stages parallelise by process.
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    # An engine in a process of its own would outlive the task (and `airflow dags test` would wait for it).
    environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    environment["PYTHONUNBUFFERED"] = "1"
    environment[TOKEN_VARIABLE] = uuid.uuid4().hex
    if environment.get("SELFEXPLORE_PYTHON"):
        # The other interpreter need not have this package installed.
        folders = (str(Path(__file__).parent.parent), environment.get("PYTHONPATH"))
        environment["PYTHONPATH"] = os.pathsep.join(folder for folder in folders if folder)
    return environment


def is_orphaned(record: Path) -> bool:
    """Whether the launcher that recorded a process group on this machine is gone; the group may be, too."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        launcher, host = ProcessIdentity(**content["launcher"]), content["host"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
    return host == socket.gethostname() and launcher.find() is None


def end_previous(record: Path) -> None:
    """End the process group that an earlier try left behind, if it is still the one that was recorded."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        leader, token = ProcessIdentity(content["pgid"], content["started_at"]), content["token"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return
    if leader.find():
        end_group(leader.pid, grace_s=GRACE_S)
    # The leader may be gone while others of the group live; its id proves nothing then, the token does.
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(TOKEN_VARIABLE) == token:
                process.kill()
    record.unlink(missing_ok=True)


def _run_group(
    arguments: Sequence[str],
    environment: dict[str, str],
    record: Path,
    deadline_s: float | None,
    on_line: Callable[[str], None],
    watchdog: Watchdog,
) -> int:
    reading, writing = os.pipe()
    # SIGTERM is deferred while the group starts, or it could miss a group that exists but is not known here yet.
    with _sigterm_raises() as check_sigterm, os.fdopen(writing, "wb"):
        with os.fdopen(reading, "rb"):
            guard = _start_guard(arguments, environment, reading)
        try:
            _write_record(record, guard, environment[TOKEN_VARIABLE])
            code = _follow(guard, deadline_s, on_line, watchdog, check_sigterm)
        finally:
            end_group(guard.pid, grace_s=GRACE_S)
            guard.wait()
            record.unlink(missing_ok=True)
    # The guard gives a signal as 128 + n; only its own death shows as -n.
    return code if code >= 0 else 128 - code


def _start_guard(arguments: Sequence[str], environment: Mapping[str, str], lifeline: int) -> Guard:
    """Start the guard of a group that runs ``selfexplore ARGUMENTS``."""
    python = environment.get("SELFEXPLORE_PYTHON")
    if not python and (guard := ask_for_group(arguments, environment, lifeline)) is not None:
        return guard
    command = (python or sys.executable, "-m", "selfexplore_tasks", *arguments)
    return subprocess.Popen(
        [sys.executable, "-I", launch_guard.__file__, str(lifeline), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
        pass_fds=(lifeline,),
    )


def _follow(
    guard: Guard,
    deadline_s: float | None,
    on_line: Callable[[str], None],
    watchdog: Watchdog,
    check_sigterm: Callable[[], None],
) -> int:
    """Pass lines on until the guard has ended (its exit code is returned), stalled, or the deadline has passed."""
    lines: queue.Queue[str | None] = queue.Queue(maxsize=QUEUED_LINES)
    threading.Thread(target=_read_lines, args=(guard.stdout, lines), daemon=True).start()
    deadline = None if deadline_s is None else time.monotonic() + deadline_s
    drained_by: float | None = None
    while True:
        check_sigterm()
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            line = ""
        if line is None:
            return guard.wait()
        if line:
            on_line(line)
            watchdog.saw_line()
        if guard.poll() is None:
            watchdog.check()
        now = time.monotonic()
        if deadline is not None and now > deadline and guard.poll() is None:
            raise TimeoutError(f"the stage ran past its deadline of {deadline_s:.0f} s and was ended")
        if (code := guard.poll()) is not None:
            # A process of the group may outlive the stage and keep the pipe open: do not wait for its end.
            drained_by = drained_by or now + DRAIN_S
            if now > drained_by:
                return code


def _read_lines(stream: IO[bytes] | None, lines: queue.Queue[str | None]) -> None:
    if stream is not None:
        while piece := stream.readline(LINE_BYTES):
            text = piece.decode("utf-8", errors="replace").rstrip()
            if text:
                lines.put(text)
    lines.put(None)


@contextmanager
def _sigterm_raises() -> Iterator[Callable[[], None]]:
    """Yield a function that raises SystemExit(143) once SIGTERM came; outside the main thread it never does."""
    received = threading.Event()

    def remember(_number: int, _frame: FrameType | None) -> None:
        received.set()

    def check() -> None:
        if received.is_set():
            _terminate()

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    previous = signal.signal(signal.SIGTERM, remember)
    try:
        yield check
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate() -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _write_record(record: Path, guard: Guard, token: str) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    # Of a fork of the server's nothing is left to ask once it has ended.
    leader = guard.identity if isinstance(guard, ForkedGuard) else ProcessIdentity.of(guard.pid)
    launcher = ProcessIdentity.of(os.getpid())
    content = {
        "pgid": leader.pid,
        "started_at": leader.started_at,
        "token": token,
        "host": socket.gethostname(),
        "launcher": asdict(launcher),
    }
    record.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _record_file(store: Store, experiment: str, round_number: int, stage: str, shard: str | None) -> Path:
    name = f"{round_number:03d}-{stage}"
    if shard:
        name += f"-{shard.replace('/', '-of-')}"
    return store.lock_dir(experiment) / f"{name}.pgid"


def _needed_divisor(record: Path) -> int:
    """By how much earlier tries of the stage found that batches must be smaller; 1 where memory sufficed."""
    note = record.with_suffix(".memory")
    return int(note.read_text(encoding="utf-8")) if note.exists() else 1


def _remember_memory(record: Path, code: int, divisor: int) -> None:
    """Let the next try halve its batches once more if this one ran out of memory; forget it when the stage is done."""
    note = record.with_suffix(".memory")
    if code == ExitCode.OUT_OF_MEMORY:
        write_text(note, str(2 * divisor))
    elif code == ExitCode.DONE:
        note.unlink(missing_ok=True)


def _stall_seconds(environment: Mapping[str, str]) -> float:
    text = environment.get(STALL_VARIABLE) or str(STALL_S)
    try:
        return max(0.0, float(text))
    except ValueError as error:
        raise UserError(f"{STALL_VARIABLE} must be a number of seconds, got {text!r}.") from error
