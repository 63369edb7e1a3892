"""``python -m selfexplore_tasks`` is the ``selfexplore`` command."""

import atexit
import os
import sys
from contextlib import suppress

from selfexplore_tasks.cli import main


def _leave_at_once(code: int) -> None:
    """End the process as Python would, but without taking down every module: after vLLM that takes two seconds."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    exit_code = main()
    if sys.argv[1:2] == ["stage"]:
        _leave_at_once(exit_code)
    sys.exit(exit_code)
