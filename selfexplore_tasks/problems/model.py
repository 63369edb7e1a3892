"""A problem as the rest of the library sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class Problem:
    """One row of the ``problems`` table (see ``store.schemas``)."""

    problem_id: str
    source: str
    split: Split
    question: str
    gold_answer: str
    gold_rationale: str | None


@dataclass(frozen=True)
class RejectedRow:
    """A source row that is not used; ``reason`` is one of those that table `rejected_rows` names."""

    source: str
    row_number: int
    reason: str
    question: str
