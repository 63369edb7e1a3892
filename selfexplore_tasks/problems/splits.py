"""Problems of an experiment, divided into train, dev and test by the seed.

A problem's place is drawn from (seed, its id) alone: the order of rows in a file does not matter, and other
counts for one split do not reshuffle it. dev is cut from the training source first, then test where it has no
source of its own, then train; so a larger train split keeps the same dev and test problems.

Benchmarks that are only measured have a dev and a test split of their own, cut in the same way.

Only training problems carry a gold rationale, and only as many as the recipe says: nothing may train on, or
prompt with, the solution of a dev or test problem.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from selfexplore_tasks import recipe
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.problems.model import Problem, RejectedRow, Split
from selfexplore_tasks.problems.sources import (
    REJECTED_QUESTION_CHARS,
    Candidate,
    normalise_question,
    read_source,
)
from selfexplore_tasks.seeds import derive_seed

_NAMED_QUESTION_CHARS = 80


@dataclass(frozen=True)
class _Splits:
    """Candidates by split, each in the order drawn."""

    train: Sequence[Candidate]
    dev: Sequence[Candidate]
    test: Sequence[Candidate]

    def named(self) -> tuple[tuple[Split, Sequence[Candidate]], ...]:
        return (("train", self.train), ("dev", self.dev), ("test", self.test))


def load_problems(
    problems: recipe.Problems, *, seed: int, answer_phrase: str
) -> tuple[list[Problem], list[RejectedRow]]:
    """Return the problems in the order train, dev, test, then the benchmarks', and every source row that is not used.

    Raises UserError where a source cannot be read or is too small for its splits, and where a problem is in two
    splits (unless ``problems.on_overlap`` says to drop the training source's copy, then reason ``in_test``).
    """
    candidates, rejected = read_source(
        problems.train, seed=derive_seed(seed, "problems", "train"), answer_phrase=answer_phrase
    )
    test_candidates: list[Candidate] | None = None
    if problems.test is not None:
        test_candidates, test_rejected = read_source(
            problems.test, seed=derive_seed(seed, "problems", "test"), answer_phrase=answer_phrase
        )
        rejected = rejected + test_rejected
    measured, not_used = _load_benchmarks(problems, seed, answer_phrase)
    rejected = rejected + not_used
    if problems.on_overlap == "drop_train":
        candidates, overlapping = _drop_overlap(candidates, [*(test_candidates or ()), *measured.dev, *measured.test])
        rejected = rejected + overlapping
    splits = _cut(problems, candidates, test_candidates, seed)
    _check_overlap(splits)
    _check_overlap(replace(measured, train=splits.train))
    with_rationale = _choose_rationales(splits.train, problems.rationale_count, seed)
    return [
        _to_problem(candidate, split, split == "train" and _problem_id(candidate) in with_rationale)
        for split, members in (*splits.named(), *measured.named())
        for candidate in members
    ], rejected


def _load_benchmarks(problems: recipe.Problems, seed: int, answer_phrase: str) -> tuple[_Splits, list[RejectedRow]]:
    """Every problem that is only measured, under its benchmark's name; there is nothing to train on among them."""
    dev: list[Candidate] = []
    test: list[Candidate] = []
    rejected: list[RejectedRow] = []
    for benchmark in problems.benchmarks:
        found, not_used = read_source(
            benchmark.source, seed=derive_seed(seed, "problems", benchmark.name), answer_phrase=answer_phrase
        )
        needed = benchmark.dev_count + (benchmark.test_count or 0)
        if len(found) < max(1, needed):
            raise UserError(
                f"Benchmark {benchmark.name} has {len(found)} usable problems, but its dev_count and test_count need "
                f"{max(1, needed)}: lower them, or give a larger source."
            )
        ranked = _rank([replace(candidate, source=benchmark.name) for candidate in found], seed, "split")
        dev += ranked[: benchmark.dev_count]
        test += ranked[benchmark.dev_count : needed if benchmark.test_count else None]
        rejected += not_used
    return _Splits(train=(), dev=dev, test=test), rejected


def _drop_overlap(
    candidates: Sequence[Candidate], test_candidates: Iterable[Candidate]
) -> tuple[list[Candidate], list[RejectedRow]]:
    """Take every question of the test source out of the training source."""
    in_test = {normalise_question(candidate.question) for candidate in test_candidates}
    kept: list[Candidate] = []
    dropped: list[RejectedRow] = []
    for candidate in candidates:
        if normalise_question(candidate.question) in in_test:
            cut = candidate.question[:REJECTED_QUESTION_CHARS]
            dropped.append(RejectedRow(candidate.source, candidate.row_number, "in_test", cut))
        else:
            kept.append(candidate)
    return kept, dropped


def _cut(
    problems: recipe.Problems, candidates: Sequence[Candidate], test_candidates: Sequence[Candidate] | None, seed: int
) -> _Splits:
    ranked = _rank(candidates, seed, "split")
    dev_count, cut_test_count = problems.dev_count, 0
    if test_candidates is None:
        cut_test_count = dev_count if problems.test_count is None else problems.test_count
    held_out = dev_count + cut_test_count
    _check_enough(problems, len(candidates), cut_test_count)
    train_end = None if problems.train_count is None else held_out + problems.train_count
    test = ranked[dev_count:held_out]
    if test_candidates is not None:
        _check_enough_test(problems.test_count, len(test_candidates))
        test = _rank(test_candidates, seed, "test")[: problems.test_count]
    return _Splits(train=ranked[held_out:train_end], dev=ranked[:dev_count], test=test)


def _check_enough(problems: recipe.Problems, usable: int, cut_test_count: int) -> None:
    train_count = 1 if problems.train_count is None else problems.train_count
    needed = problems.dev_count + cut_test_count + train_count
    if usable < needed:
        at_least = "at least " if problems.train_count is None else ""
        parts = [f"{problems.dev_count} dev", f"{at_least}{train_count} training"]
        if cut_test_count:
            parts.insert(1, f"{cut_test_count} test")
        raise UserError(
            f"The training source has {usable} usable problems, but the splits need {needed} "
            f"({' + '.join(parts)}): lower problems.train_count, dev_count or test_count, or give a larger source."
        )


def _check_enough_test(test_count: int | None, usable: int) -> None:
    if usable < (test_count or 1):
        raise UserError(
            f"The test source has {usable} usable problems, but problems.test_count needs {test_count or 1}: "
            "lower it, or give a larger source."
        )


def _check_overlap(splits: _Splits) -> None:
    first_seen: dict[str, Split] = {}
    overlaps: list[str] = []
    for split, members in splits.named():
        for candidate in members:
            seen_in = first_seen.setdefault(normalise_question(candidate.question), split)
            if seen_in != split:
                question = normalise_question(candidate.question)
                overlaps.append(f'"{question[:_NAMED_QUESTION_CHARS]}" is in both {seen_in} and {split}')
    if overlaps:
        more = f" (and {len(overlaps) - 1} more)" if len(overlaps) > 1 else ""
        raise UserError(
            f"The problem {overlaps[0]}{more}: remove it from one source, or set problems.on_overlap to drop_train."
        )


def _choose_rationales(train: Sequence[Candidate], count: int | None, seed: int) -> set[str]:
    """Return the ids of the training problems that keep their gold rationale."""
    solved = [candidate for candidate in train if candidate.gold_rationale is not None]
    if count is not None and len(solved) < count:
        raise UserError(
            f"Only {len(solved)} of {len(train)} training problems have a gold rationale, but "
            f"problems.rationale_count needs {count}: lower it, or map the column with the solutions."
        )
    return {_problem_id(candidate) for candidate in _rank(solved, seed, "rationale")[:count]}


def _rank(candidates: Sequence[Candidate], seed: int, purpose: str) -> list[Candidate]:
    """Shuffle so that the place of a problem depends on the seed and its own id alone."""

    def place(candidate: Candidate) -> tuple[int, str]:
        problem_id = _problem_id(candidate)
        return derive_seed(seed, purpose, problem_id), problem_id

    return sorted(candidates, key=place)


def _problem_id(candidate: Candidate) -> str:
    digest = hashlib.sha256(normalise_question(candidate.question).encode()).hexdigest()
    return f"{candidate.source}-{digest[:12]}"


def _to_problem(candidate: Candidate, split: Split, keeps_rationale: bool) -> Problem:
    return Problem(
        problem_id=_problem_id(candidate),
        source=candidate.source,
        split=split,
        question=candidate.question,
        gold_answer=candidate.gold_answer,
        gold_rationale=candidate.gold_rationale if keeps_rationale else None,
    )
