"""What docker/requirements-airflow.txt installs, and an environment in which Python sees nothing else."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
REQUIREMENTS = REPOSITORY / "docker" / "requirements-airflow.txt"
SLIM_FOLDER = REPOSITORY / "tests" / "cluster" / "slim"
OUR_PACKAGE = "selfexplore-airflow"
# pip's own, which every environment has, and what an interpreter of a virtual environment brings along.
ALWAYS = {OUR_PACKAGE, "pip", "setuptools"}


def slim_environment() -> dict[str, str]:
    """Variables that hide from Python whatever the slim image does not install."""
    path = os.pathsep.join(folder for folder in (str(SLIM_FOLDER), os.environ.get("PYTHONPATH")) if folder)
    return {"PYTHONPATH": path, "ABSENT_MODULES": ",".join(sorted(absent_modules()))}


@cache
def absent_modules() -> frozenset[str]:
    """Top-level modules of distributions that are installed here and not in the slim image."""
    present = slim_distributions() | ALWAYS
    owners = packages_distributions()
    return frozenset(
        module for module, names in owners.items() if not {canonicalize_name(name) for name in names} & present
    )


@cache
def slim_distributions() -> frozenset[str]:
    """The distributions that the requirements lead to, by their canonical names."""
    lines = [line.partition("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()]
    open_ones, found = [Requirement(line) for line in lines if line], set[tuple[str, frozenset[str]]]()
    while open_ones:
        one = open_ones.pop()
        key = (canonicalize_name(one.name), frozenset(one.extras))
        if key in found:
            continue
        try:
            needed = [Requirement(text) for text in requires(one.name) or []]
        except PackageNotFoundError:
            continue  # for another platform or version of Python
        found.add(key)
        open_ones += [
            other
            for other in needed
            if other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in ("", *one.extras))
        ]
    return frozenset(name for name, _ in found)
