"""The leader of a stage's process group: runs the stage, and ends the group when the launcher disappears.

Run by path, with the standard library only: ``python launch_guard.py DESCRIPTOR COMMAND…``. DESCRIPTOR is the reading
end of a pipe whose other end only the launcher holds: it closes however the launcher dies, SIGKILL included.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

GRACE_S = 3.0


def main() -> int:
    """Guard a program."""
    descriptor, command = int(sys.argv[1]), sys.argv[2:]
    return guard(descriptor, lambda: subprocess.Popen(command).wait)


def guard(descriptor: int, start: Callable[[], Callable[[], int]]) -> int:
    """Start a process of this group, wait for it with what ``start`` returns, and return its exit code.

    128 + n if signal n ended it; ``start``'s function returns -n then.
    """
    # A handler, not SIG_IGN: the command would inherit an ignored signal.
    signal.signal(signal.SIGTERM, lambda *_: None)
    wait = start()
    threading.Thread(target=_end_group_at_eof, args=(descriptor,), daemon=True).start()
    code = wait()
    return code if code >= 0 else 128 - code


def _end_group_at_eof(descriptor: int) -> None:
    os.read(descriptor, 1)
    group = os.getpgrp()
    os.killpg(group, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
