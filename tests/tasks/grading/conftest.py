"""A grader shared by the tests of one module: its subprocess takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from selfexplore_tasks.grading import Grader


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(answer_phrase="The answer is") as shared:
        yield shared
