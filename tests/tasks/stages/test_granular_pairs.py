"""`assign_chosen`: per problem no chosen and no rejected text twice, and a reason for every dropped candidate."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfexplore_tasks.problems.arithmetic import generate
from selfexplore_tasks.stages.granular_pairs import assign_chosen, split_options, true_wrong_step


def option(text: str) -> dict[str, Any]:
    return {"text": text, "rollout_id": f"id of {text}", "rationale_id": None}


NAMES = count()


def candidate(rejected: str | None, *texts: str, problem: str = "p", pit: int | None = 2) -> dict[str, Any]:
    """A candidate of a rationale of its own."""
    options = [option(text) for text in texts] or None
    keys = {"rationale_id": f"w{next(NAMES)}", "problem_id": problem}
    return {**keys, "pit_step": pit, "rejected": rejected, "options": options}


def test_the_first_option_is_chosen() -> None:
    (row,) = assign_chosen([candidate("wrong", "short", "longer")])
    assert (row["chosen"], row["drop_reason"]) == (option("short"), None)


def test_a_text_is_chosen_once_per_problem() -> None:
    rows = assign_chosen(
        [
            candidate("w1", "a", "b"),
            candidate("w2", "a", "b"),
            candidate("w3", "a", "b"),
            candidate("w4", "a", problem="q"),
        ]
    )
    assert [row["chosen"]["text"] for row in rows] == ["a", "b", "a", "a"]
    assert [row["drop_reason"] for row in rows] == [None, None, "duplicate_chosen", None]


def test_a_text_is_rejected_once_per_problem() -> None:
    rows = assign_chosen([candidate("w", "a"), candidate("w", "b"), candidate("w", "b", problem="q")])
    assert [row["drop_reason"] for row in rows] == [None, "duplicate_rejected", None]


def test_a_dropped_candidate_uses_nothing_up() -> None:
    rows = assign_chosen([candidate("w"), candidate("w", "a"), candidate(None, "b", pit=None), candidate("v", "b")])
    assert [row["drop_reason"] for row in rows] == ["no_chosen", None, "no_pit", None]


@pytest.mark.parametrize("rejected", ["", " ", "\n", "\t\r\n"])
def test_an_empty_rejected_text_is_never_kept(rejected: str) -> None:
    (row,) = assign_chosen([candidate(rejected, "a")])
    assert row["drop_reason"] == "empty_rejected"


def test_candidates_are_not_changed() -> None:
    given_candidate = candidate("w", "a")
    before = dict(given_candidate)
    assign_chosen([given_candidate])
    assert given_candidate == before


def test_a_candidate_without_options_has_no_chosen() -> None:
    rows = assign_chosen([candidate("w"), candidate(None, pit=None)])
    assert [(row["chosen"], row["drop_reason"]) for row in rows] == [(None, "no_chosen"), (None, "no_pit")]


def test_split_options_gives_a_pair_for_every_distinct_rollout_of_a_rationale() -> None:
    rows = assign_chosen(split_options([candidate("w", "a", "b", "a"), candidate("v", "b", "c"), candidate("w", "d")]))
    assert [(row["rejected"], row["chosen"]["text"], row["drop_reason"]) for row in rows] == [
        ("w", "a", None),
        ("w", "b", None),
        ("w", "a", "duplicate_chosen"),
        ("v", "b", "duplicate_chosen"),
        ("v", "c", None),
        ("w", "d", "duplicate_rejected"),
    ]
    assert [row["option_index"] for row in rows] == [0, 1, 2, 0, 1, 0]


def test_split_options_keeps_a_candidate_without_options() -> None:
    nothing = candidate("w")
    assert split_options([nothing]) == [nothing]
    assert split_options([]) == []


TEXTS = st.text("ab \n", max_size=3)
CANDIDATES = st.lists(st.builds(candidate, TEXTS, TEXTS, TEXTS, problem=st.sampled_from("pq")), max_size=12)


@given(CANDIDATES, st.booleans())
def test_kept_candidates_are_distinct_and_complete(candidates: list[dict[str, Any]], is_split: bool) -> None:
    rows = assign_chosen(split_options(candidates) if is_split else candidates)
    kept = [row for row in rows if row["drop_reason"] is None]
    assert all(row["rejected"].strip() and row["chosen"] in row["options"] for row in kept)
    chosen = [(row["problem_id"], row["chosen"]["text"]) for row in kept]
    assert len(chosen) == len(set(chosen))
    rejected = {(row["problem_id"], row["rejected"]) for row in kept}
    rationales = {row["rationale_id"] for row in kept}
    assert len(rejected) == len(rationales)
    assert is_split or len(rejected) == len(kept)


def test_the_true_wrong_step_is_known_for_generated_arithmetic() -> None:
    (problem,) = generate(1, seed=3, min_steps=3, max_steps=3)
    lines = problem.gold_rationale.split("\n")
    lines[1] = lines[1].replace(" = ", " = 1")
    assert true_wrong_step(problem.question, "\n".join(lines)) == 2
    assert true_wrong_step(problem.question, "") == 1
    assert true_wrong_step(problem.question, "\n".join([*lines[:1], "\x00" * 100_000])) == 2


@pytest.mark.parametrize("question", ["How many?", "", "Eva has 3 shells, loses 9. How many now?", "9" * 100_000])
def test_the_true_wrong_step_is_unknown_for_other_questions(question: str) -> None:
    assert true_wrong_step(question, "The answer is 4") is None
