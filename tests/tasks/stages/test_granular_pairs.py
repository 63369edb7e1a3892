"""`assign_chosen`: per problem no chosen and no rejected text twice, and a reason for every dropped candidate."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfexplore_tasks.stages.granular_pairs import assign_chosen


def option(text: str) -> dict[str, Any]:
    return {"text": text, "rollout_id": f"id of {text}", "rationale_id": None}


def candidate(rejected: str | None, *texts: str, problem: str = "p", pit: int | None = 2) -> dict[str, Any]:
    options = [option(text) for text in texts] or None
    return {"problem_id": problem, "pit_step": pit, "rejected": rejected, "options": options}


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
    assert [row["chosen"] and row["chosen"]["text"] for row in rows] == ["a", "b", None, "a"]
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
    assert (row["chosen"], row["drop_reason"]) == (None, "empty_rejected")


def test_candidates_are_not_changed() -> None:
    given_candidate = candidate("w", "a")
    before = dict(given_candidate)
    assign_chosen([given_candidate])
    assert given_candidate == before


TEXTS = st.text("ab \n", max_size=3)


@given(st.lists(st.builds(candidate, TEXTS, TEXTS, TEXTS, problem=st.sampled_from("pq")), max_size=12))
def test_kept_candidates_are_distinct_and_complete(candidates: list[dict[str, Any]]) -> None:
    rows = assign_chosen(candidates)
    kept = [row for row in rows if row["drop_reason"] is None]
    assert all((row["chosen"] is None) == (row["drop_reason"] is not None) for row in rows)
    assert all(row["rejected"].strip() and row["chosen"] in row["options"] for row in kept)
    for texts in (
        [(row["problem_id"], row["chosen"]["text"]) for row in kept],
        [(row["problem_id"], row["rejected"]) for row in kept],
    ):
        assert len(texts) == len(set(texts))
