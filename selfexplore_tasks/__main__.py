"""``python -m selfexplore_tasks`` is the ``selfexplore`` command."""

import sys

from selfexplore_tasks.cli import main

if __name__ == "__main__":
    sys.exit(main())
