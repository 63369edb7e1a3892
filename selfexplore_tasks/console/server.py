"""A process that has imported everything and forks a child for each query: a child begins in milliseconds.

Run as ``python -m selfexplore_tasks.console.server DESCRIPTOR``; each message on that socket carries the socket on
which one child reads its request and answers. It ends when the other side closes, however that dies.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback

# Imported here so that children need not.
import duckdb  # noqa: F401
import numpy as np  # noqa: F401
import pyarrow.dataset  # noqa: F401

from selfexplore_tasks.console.child import Request, answer, limit_process

BEGUN = b"B"
"""What a child says first, so that a query whose server was just dying is asked again."""


def main() -> int:
    """Fork until the other side closes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        while True:
            message, descriptors, _, _ = socket.recv_fds(requests, 1, 1)
            if not message:
                return 0
            with socket.socket(fileno=descriptors[0]) as asked:
                if os.fork() == 0:
                    requests.close()
                    _serve(asked)


def _serve(asked: socket.socket) -> None:
    """Answer one request and leave, whatever happens: nothing of the parent may run on in the child."""
    try:
        asked.sendall(BEGUN)
        with asked.makefile("rb") as content:
            request = Request.read(content.read())
        limit_process(request)
        asked.sendall(answer(request))
    except Exception:
        asked.sendall(b"X" + traceback.format_exc().encode(errors="replace"))
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
