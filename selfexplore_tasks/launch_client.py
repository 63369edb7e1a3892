"""The launcher's side of a stage server (see ``launch_server``): asks for a stage's process group and follows it.

Over the server's socket go: a header with two descriptors (the stage's output, the lifeline of ``launch_guard``); the
request (JSON); the guard's id; one byte, once the launcher knows the guard; the guard's exit code. Nothing of the stage
begins before that byte: whatever fails until then, it may be started as a program instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from selfexplore_tasks.processes import ProcessIdentity

SERVER_VARIABLE = "SELFEXPLORE_STAGE_SERVER"
OFF = "off"
TIMEOUT_S = 10.0
"""A request is one small message on this machine."""
HEADER, IDENTIFIER, EXIT_CODE = struct.Struct("!32sI"), struct.Struct("!I"), struct.Struct("!i")
"""The header is `PROTOCOL` and the length of the request."""
GO = b"\n"
PROTOCOL = hashlib.sha256(Path(__file__).read_bytes()).digest()
"""A server of other code than its launcher's refuses: the code below a running Airflow may be updated."""


class ForkedGuard:
    """The guard of a group that the server forked, with as much of ``subprocess.Popen`` as a launcher needs."""

    def __init__(self, identity: ProcessIdentity, connection: socket.socket, stdout: IO[bytes]) -> None:
        self.identity = identity
        self.stdout = stdout
        self.returncode: int | None = None
        self._connection = connection

    @property
    def pid(self) -> int:
        return self.identity.pid

    def poll(self) -> int | None:
        """The exit code, None while the guard lives; -9 for one that was killed."""
        return self._ended(socket.MSG_DONTWAIT)

    def wait(self) -> int:
        """Wait for the guard's end and return its exit code, -9 for one that was killed."""
        while (code := self._ended(0)) is None:
            pass
        return code

    def _ended(self, flags: int) -> int | None:
        if self.returncode is None:
            try:
                answer = self._connection.recv(EXIT_CODE.size, flags)
            except BlockingIOError:
                return None
            except ConnectionError:
                answer = b""
            self.returncode = EXIT_CODE.unpack(answer)[0] if answer else -signal.SIGKILL
            self._connection.close()
        return self.returncode


def ask_for_group(arguments: Sequence[str], environment: Mapping[str, str], lifeline: int) -> ForkedGuard | None:
    """Let the environment's server fork ``selfexplore ARGUMENTS`` and its guard; None where no server does.

    ``lifeline`` is the reading end of a pipe: see ``launch_guard``.
    """
    address = environment.get(SERVER_VARIABLE, OFF)
    if address in {OFF, ""}:
        return None
    with ExitStack() as undo, suppress(OSError, psutil.NoSuchProcess):
        connection = undo.enter_context(socket.socket(socket.AF_UNIX))
        connection.settimeout(TIMEOUT_S)
        with short_path(Path(address)) as path:
            connection.connect(path)
        content = {"arguments": [*arguments], "environment": dict(environment), "folder": str(Path.cwd())}
        stdout = undo.enter_context(_send(connection, json.dumps(content).encode(), lifeline))
        (pid,) = IDENTIFIER.unpack(received(connection, IDENTIFIER.size))
        guard = ForkedGuard(ProcessIdentity.of(pid), connection, stdout)
        connection.sendall(GO)
        connection.settimeout(None)
        undo.pop_all()
        return guard
    return None


def _send(connection: socket.socket, request: bytes, lifeline: int) -> IO[bytes]:
    """Send the request; returns what the stage will write."""
    reading, writing = os.pipe()
    stdout = os.fdopen(reading, "rb")
    try:
        socket.send_fds(connection, [HEADER.pack(PROTOCOL, len(request))], [writing, lifeline])
        connection.sendall(request)
    except BaseException:
        stdout.close()
        raise
    finally:
        os.close(writing)
    return stdout


def received(connection: socket.socket, size: int) -> bytes:
    """Read exactly ``size`` bytes. Raises ConnectionError if the other side ends before."""
    pieces: list[bytes] = []
    while (missing := size - sum(map(len, pieces))) > 0:
        piece = connection.recv(missing)
        if not piece:
            raise ConnectionError("the other side of the stage server's socket has gone")
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def short_path(address: Path) -> Iterator[str]:
    """The socket under a name within the 107 bytes that a socket's address may have."""
    folder = os.open(address.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{address.name}"
    finally:
        os.close(folder)
