"""``python -m selfexplore_tasks`` is the ``selfexplore`` command."""

import sys

from selfexplore_tasks.cli import main
from selfexplore_tasks.leaving import leave_at_once

if __name__ == "__main__":
    exit_code = main()
    if sys.argv[1:2] == ["stage"]:
        leave_at_once(exit_code)
    sys.exit(exit_code)
