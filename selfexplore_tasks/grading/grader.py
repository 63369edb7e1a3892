"""The verdict on a completion: extraction, exact comparison, and Math-Verify where that does not decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from selfexplore_tasks.grading.compare import LocalReason, answers_equal, compare_locally, normalise_answer
from selfexplore_tasks.grading.extract import extract_answer, last_number
from selfexplore_tasks.grading.pool import SymbolicOptions, SymbolicPool, SymbolicReason, SymbolicTask

Verdict = Literal["correct", "wrong", "no_answer", "unfinished"]
Reason = LocalReason | SymbolicReason | Literal["no_answer", "unfinished"]

_ANSWER_OPTIONS = SymbolicOptions(match_types=("latex",))


@dataclass(frozen=True)
class GradeRequest:
    """A completion to grade; ``finish_reason`` is the engine's (`stop` or `length`)."""

    text: str
    gold: str
    finish_reason: str


@dataclass(frozen=True)
class Grade:
    """The verdict. ``answer`` is the strict answer as written; ``reason`` says how the verdict was reached."""

    answer: str | None
    verdict: Verdict
    is_correct_strict: bool
    is_correct_flexible: bool
    reason: Reason


@dataclass(frozen=True)
class AnswerPair:
    """Two answers to compare. With ``options`` the raw texts go straight to Math-Verify under these settings."""

    gold: str
    prediction: str
    options: SymbolicOptions | None = None


@dataclass(frozen=True)
class Equality:
    """Whether two answers are equal, and what decided it."""

    is_equal: bool
    reason: LocalReason | SymbolicReason


class Grader:
    """Grades completions; use it as a context manager, or call ``close``.

    ``timeout_s`` bounds one symbolic comparison; ``workers`` subprocesses are started when the first answer
    comes that is neither number nor plain text. Equal (gold, answer) pairs of one call are compared once.
    """

    def __init__(self, *, answer_phrase: str, timeout_s: float = 5.0, workers: int = 1) -> None:
        if not answer_phrase.strip():
            raise ValueError("answer_phrase must not be blank")
        self._answer_phrase = answer_phrase
        self._pool = SymbolicPool(timeout_s=timeout_s, workers=workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def has_subprocesses(self) -> bool:
        """Whether a symbolic comparison has started subprocesses."""
        return self._pool.is_started

    def close(self) -> None:
        """End the subprocesses, if any were started."""
        self._pool.close()

    def grade(self, items: Sequence[GradeRequest]) -> list[Grade]:
        """Return a grade per item, in order.

        correct: the strict answer equals gold; wrong: it differs; no strict answer: ``unfinished`` if the engine
        ran out of tokens, else ``no_answer``. Flexible is strict, or the last number in the text equals gold.
        """
        answers = [extract_answer(item.text, self._answer_phrase) for item in items]
        pairs = [AnswerPair(item.gold, answer or "") for item, answer in zip(items, answers, strict=True)]
        equalities = self.compare(pairs)
        return [
            self._grade(item, answer, equality)
            for item, answer, equality in zip(items, answers, equalities, strict=True)
        ]

    def _grade(self, item: GradeRequest, answer: str | None, equality: Equality) -> Grade:
        number = last_number(item.text)
        is_flexible = number is not None and answers_equal(item.gold, number)
        if answer is None:
            if item.finish_reason == "length":
                return Grade(None, "unfinished", False, is_flexible, "unfinished")
            return Grade(None, "no_answer", False, is_flexible, "no_answer")
        verdict: Verdict = "correct" if equality.is_equal else "wrong"
        return Grade(answer, verdict, equality.is_equal, equality.is_equal or is_flexible, equality.reason)

    def compare(self, pairs: Sequence[AnswerPair]) -> list[Equality]:
        """Return for each pair whether its answers are equal, in order (rules: ``compare``'s docstring)."""
        decided: dict[AnswerPair, Equality] = {}
        symbolic: dict[AnswerPair, SymbolicTask] = {}
        for pair in pairs:
            if pair in decided or pair in symbolic:
                continue
            outcome = _decide(pair)
            if isinstance(outcome, Equality):
                decided[pair] = outcome
            else:
                symbolic[pair] = outcome
        for pair, reason in zip(symbolic, self._pool.compare(list(symbolic.values())), strict=True):
            decided[pair] = Equality(reason == "equal_symbolic", reason)
        return [decided[pair] for pair in pairs]


def _decide(pair: AnswerPair) -> Equality | SymbolicTask:
    if pair.options is not None:
        return SymbolicTask(pair.gold, pair.prediction, pair.options)
    gold, prediction = normalise_answer(pair.gold), normalise_answer(pair.prediction)
    reason = compare_locally(gold, prediction)
    if reason is not None:
        return Equality(reason in ("equal_number", "equal_text"), reason)
    return SymbolicTask(f"${gold}$", f"${prediction}$", _ANSWER_OPTIONS)
