"""Python imports this at its start where PYTHONPATH names this folder: the modules of ABSENT_MODULES are then absent.

So a process sees what it would in the slim image, which has the packages of docker/requirements-airflow.txt only.
"""

import os
import sys
from importlib.abc import MetaPathFinder

ABSENT = frozenset(os.environ.get("ABSENT_MODULES", "").split(","))


class Absent(MetaPathFinder):
    """Finds none of the absent modules, and lets nobody else find them."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r} (not in the slim image)", name=name)


sys.meta_path.insert(0, Absent())
