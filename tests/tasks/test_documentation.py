"""What a deployment can set is documented in one place."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
VARIABLE = re.compile(r"SELFEXPLORE_[A-Z]+(?:_[A-Z]+)*")
INTERNAL = {"SELFEXPLORE_LAUNCH_TOKEN", "SELFEXPLORE_TRAINING_LAUNCHER"}


def test_every_variable_is_in_the_table_of_the_environment() -> None:
    sources = [
        path for folder in ("selfexplore_tasks", "dags", "plugins") for path in (REPOSITORY / folder).rglob("*.py")
    ]
    used = {name for path in sources for name in VARIABLE.findall(path.read_text(encoding="utf-8"))} - INTERNAL
    text = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    assert used == set(VARIABLE.findall(text.split("## Environment")[1]))
