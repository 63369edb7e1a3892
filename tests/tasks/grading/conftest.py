"""A grader shared by the tests of one module: its subprocess takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from selfexplore_tasks.grading import Grader


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    # Verdicts must not depend on how busy the machine is.
    with Grader(answer_phrase="The answer is", timeout_s=60) as shared:
        yield shared
