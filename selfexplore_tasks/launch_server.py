"""A server that has imported what stages import, and forks their process groups: no stage waits for its libraries.

Importing torch, vLLM and TRL takes seconds of every process. `local_airflow` keeps one server beside Airflow's
components and names its socket in ``SELFEXPLORE_STAGE_SERVER``; a launcher that gets no group from it starts the stage
as a program, and either way the stage does the same. Only other people's packages are imported ahead: a stage imports
this package itself, so it runs the code as it is then.

The server only accepts and forks. The fork reads the request (see ``launch_client``), becomes the guard of a process
group, and forks the stage.

``python -m selfexplore_tasks.launch_server SOCKET``. Linux only; not for machines with a GPU, where a library that
touches CUDA while it is imported would leave every fork without it.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import getproctitle, setproctitle

from selfexplore_tasks import launch_guard
from selfexplore_tasks.launch_client import EXIT_CODE, GO, HEADER, IDENTIFIER, PROTOCOL, TIMEOUT_S, received, short_path
from selfexplore_tasks.leaving import leave_at_once
from selfexplore_tasks.processes import die_with

PACKAGE = "selfexplore_tasks"
AHEAD = (
    "duckdb",
    "pyarrow.dataset",
    "rapidfuzz.process",
    "transformers.models.llama.modeling_llama",
    "datasets",
    "peft",
    "trl.trainer.sft_trainer",
    "trl.trainer.dpo_trainer",
    "vllm.entrypoints.llm",
    "vllm.v1.worker.cpu_worker",
)
"""These bring nearly all that a generating or a training stage has imported at its end."""
READ_AT_START = (
    *("ARROW_", "DATASETS_", "HF_", "HOME", "HUGGINGFACE_", "KMP_", "LANG", "LC_", "LD_", "MALLOC_", "MKL_"),
    *("OPENBLAS_", "PYTHON", "PYTORCH_", "TMPDIR", "TORCH", "TRANSFORMERS_", "TZ", "VLLM_", "XDG_"),
)
"""Variables whose names begin so are read once, by the interpreter or by a library; where a stage's differ from the
server's, the stage gets an interpreter of its own."""
OF_EVERY_STAGE = {"PYTHONUNBUFFERED", "VLLM_ENABLE_V1_MULTIPROCESSING"}
"""Of these, what a launcher sets and a fork does as well."""


def serve(address: Path) -> NoReturn:
    """Import what stages need, then fork whatever is asked for on the socket ``address``, until this process ends."""
    getproctitle()  # finds the room for titles as long as the environment is as the kernel wrote it
    imported_under = _read_at_start(os.environ)
    _import_ahead()
    # Ended guards need no waiting for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with _listener(address) as listener:
        print(f"Stages are forked for {address}", flush=True)
        while True:
            connection, _ = listener.accept()
            # Where there is no memory for a fork, the launcher sees the connection end.
            with connection, suppress(OSError):
                if os.fork() == 0:
                    listener.close()
                    _leave(_lead_group, connection, imported_under)


def _import_ahead() -> None:
    from selfexplore_tasks.engines.vllm import set_environment

    set_environment()
    for name in AHEAD:
        # Whatever is missing or broken here: a stage that needs it says so.
        with suppress(Exception):
            importlib.import_module(name)
    gc.collect()
    # What was imported stays shared between the forks as long as no collection writes to it.
    gc.freeze()


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_START) and name not in OF_EVERY_STAGE
    }


def _listener(address: Path) -> socket.socket:
    """A socket that only this user can connect to; it replaces one that an earlier server left."""
    address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        with short_path(address) as path:
            listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen()
    return listener


def _lead_group(connection: socket.socket, imported_under: Mapping[str, str]) -> NoReturn:
    """Lead a process group that runs the stage which the connection asks for; end with its exit code."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    arguments, output, lifeline = _take_request(connection)
    setproctitle(" ".join((sys.executable, launch_guard.__file__, *arguments)))
    others = sorted({name for name, _ in _read_at_start(os.environ).items() ^ imported_under.items()})
    print(*arguments, *(("in an interpreter of its own, for other", *others) if others else ()))
    connection.sendall(IDENTIFIER.pack(os.getpid()))
    received(connection, len(GO))
    connection.settimeout(None)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)

    def start() -> Callable[[], int]:
        guard = os.getpid()
        child = os.fork()
        if child == 0:
            connection.close()
            os.close(lifeline)
            _leave(_begin, guard, _execute if others else _run, arguments)
        return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    code = launch_guard.guard(lifeline, start)
    with suppress(OSError):
        connection.sendall(EXIT_CODE.pack(code))
    os._exit(code)


def _take_request(connection: socket.socket) -> tuple[list[str], int, int]:
    """Go to the launcher's folder and take its environment; returns arguments, the output and the lifeline."""
    connection.settimeout(TIMEOUT_S)
    header, (output, lifeline), _, _ = socket.recv_fds(connection, HEADER.size, 2)
    protocol, length = HEADER.unpack(header)
    if protocol != PROTOCOL:
        sys.exit("A launcher of other code asked: restart this server.")
    request = json.loads(received(connection, length))
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    return request["arguments"], output, lifeline


def _begin(guard: int, run: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    # The token in a fork's environment is not seen from outside: without its guard nobody could find the stage.
    die_with(guard)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return run(arguments)


def _run(arguments: Sequence[str]) -> int:
    """Be the stage's process, as if an interpreter had just been started for it."""
    setproctitle(" ".join((sys.executable, "-m", PACKAGE, *arguments)))
    sys.argv[1:] = arguments
    if not sys.flags.safe_path:
        sys.path[0] = str(Path.cwd())
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    importlib.invalidate_caches()
    if "torch" in sys.modules:
        # It asked OpenMP when it was imported, and OpenMP read OMP_NUM_THREADS when it was loaded.
        threads = importlib.import_module(f"{PACKAGE}.engines.select").effective_threads(None)
        sys.modules["torch"].set_num_threads(threads)
    return int(importlib.import_module(f"{PACKAGE}.cli").main(arguments))


def _execute(arguments: Sequence[str]) -> NoReturn:
    """Start an interpreter for the stage in this process."""
    os.execv(sys.executable, [sys.executable, "-m", PACKAGE, *arguments])


def _leave(work: Callable[..., int], *arguments: Any) -> NoReturn:
    """End this fork with the exit code of ``work``, whatever happens in it."""
    code = 1
    try:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True, write_through=True)
        code = work(*arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        leave_at_once(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
