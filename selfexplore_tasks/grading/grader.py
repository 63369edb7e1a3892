"""The verdict on a completion: extraction, exact comparison, and Math-Verify where that does not decide.

A second grader may be asked beside it. It never decides: its verdict is stored, and where it differs is a view.
"""

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
SecondGrader = Literal["string_match", "math_verify"]

_ANSWER_OPTIONS = SymbolicOptions(match_types=("latex",))
_EQUAL = frozenset(["equal_number", "equal_text", "equal_symbolic"])


@dataclass(frozen=True)
class GradeRequest:
    """A completion to grade; ``finish_reason`` is the engine's (`stop` or `length`)."""

    text: str
    gold: str
    finish_reason: str


@dataclass(frozen=True)
class Grade:
    """The verdict. ``answer`` is the strict answer as written; ``reason`` says what decided the strict verdict.

    ``is_correct_second`` is the second grader's view of the same answer; None without one.
    """

    answer: str | None
    verdict: Verdict
    is_correct_strict: bool
    is_correct_flexible: bool
    reason: Reason
    is_correct_second: bool | None = None


@dataclass(frozen=True)
class AnswerPair:
    """Two answers to compare. With ``options`` the raw texts go straight to Math-Verify under these settings."""

    gold: str
    prediction: str
    options: SymbolicOptions | None = None


@dataclass(frozen=True)
class Equality:
    """Whether two answers are equal, what decided it, and what the second grader says (None without one)."""

    is_equal: bool
    reason: LocalReason | SymbolicReason
    is_equal_second: bool | None = None


class Grader:
    """Grades completions; use it as a context manager, or call ``close``.

    ``timeout_s`` bounds one symbolic comparison; ``workers`` subprocesses are started when the first answer
    comes that is neither number nor plain text. Equal (gold, answer) pairs of one call are compared once.

    ``second`` names a second grader of the strict answer. ``string_match``: the normalised texts are the same.
    ``math_verify``: Math-Verify with its defaults, on both answers as written.
    """

    def __init__(
        self, *, answer_phrase: str, timeout_s: float = 5.0, workers: int = 1, second: SecondGrader | None = None
    ) -> None:
        if not answer_phrase.strip():
            raise ValueError("answer_phrase must not be blank")
        self._answer_phrase = answer_phrase
        self._second = second
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
            verdict: Literal["unfinished", "no_answer"] = (
                "unfinished" if item.finish_reason == "length" else "no_answer"
            )
            return Grade(None, verdict, False, is_flexible, verdict, None if self._second is None else False)
        return Grade(
            answer=answer,
            verdict="correct" if equality.is_equal else "wrong",
            is_correct_strict=equality.is_equal,
            is_correct_flexible=equality.is_equal or is_flexible,
            reason=equality.reason,
            is_correct_second=equality.is_equal_second,
        )

    def compare(self, pairs: Sequence[AnswerPair]) -> list[Equality]:
        """Return for each pair whether its answers are equal, in order (rules: ``compare``'s docstring)."""
        decisions = {pair: (_decide(pair), self._decide_second(pair)) for pair in dict.fromkeys(pairs)}
        tasks = list(dict.fromkeys(one for both in decisions.values() for one in both if isinstance(one, SymbolicTask)))
        outcomes = dict(zip(tasks, self._pool.compare(tasks), strict=True))
        equalities: dict[AnswerPair, Equality] = {}
        for pair, (first, second) in decisions.items():
            reason = outcomes[first] if isinstance(first, SymbolicTask) else first
            second_reason = outcomes[second] if isinstance(second, SymbolicTask) else second
            is_equal_second = None if second_reason is None else second_reason in _EQUAL
            equalities[pair] = Equality(reason in _EQUAL, reason, is_equal_second)
        return [equalities[pair] for pair in pairs]

    def _decide_second(self, pair: AnswerPair) -> LocalReason | SymbolicTask | None:
        if self._second == "string_match":
            return "equal_text" if normalise_answer(pair.gold) == normalise_answer(pair.prediction) else "unequal_text"
        if self._second == "math_verify":
            return SymbolicTask(f"${pair.gold}$", f"${pair.prediction}$")
        return None


def _decide(pair: AnswerPair) -> LocalReason | SymbolicTask:
    if pair.options is not None:
        return SymbolicTask(pair.gold, pair.prediction, pair.options)
    gold, prediction = normalise_answer(pair.gold), normalise_answer(pair.prediction)
    return compare_locally(gold, prediction) or SymbolicTask(f"${gold}$", f"${prediction}$", _ANSWER_OPTIONS)
