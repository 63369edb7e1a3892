"""Outcome pairs of a finished round: every rationale in one row, the pairs those of the matching, and their reasons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selfexplore_tasks.recipe import Pairs, Rft
from selfexplore_tasks.stages.outcome_pairs import match
from selfexplore_tasks.stages.rft_set import select_correct
from selfexplore_tasks.store.home import Store

RowsOf = Callable[[Store, str], list[dict[str, Any]]]
OUTCOME = "select * from pairs where kind = 'outcome'"


def test_the_recipe_chooses_the_style() -> None:
    correct, wrong = ["a" * 10], ["b" * 30, "b" * 20]
    assert match(correct, wrong, Pairs()).matches[0].wrong_index == 0
    assert match(correct, wrong, Pairs(style="shortest")).matches[0].wrong_index == 1
    assert match(correct, ["a" * 9 + "b"], Pairs(style="shortest")).correct_dropped == {0: "too_close"}
    assert match(correct, ["a" * 9 + "b"], Pairs(style="shortest", min_distances=(0.04,))).correct_dropped == {}
    assert match(["a", "b"], ["c", "d"], Pairs(max_per_problem=1)).correct_dropped == {1: "over_limit"}


def test_every_wrong_rationale_is_in_one_row(finished_store: Store, rows_of: RowsOf) -> None:
    wrong = rows_of(
        finished_store,
        "select rationale_id, problem_id, text from int_wrong_rationales where model_id = '1/rft' order by 1",
    )
    rows = rows_of(finished_store, f"{OUTCOME} and rejected_rationale_id is not null order by rejected_rationale_id")
    assert [(row["rejected_rationale_id"], row["problem_id"], row["rejected"]) for row in rows] == [
        (row["rationale_id"], row["problem_id"], row["text"]) for row in wrong
    ]


def test_every_kept_correct_rationale_is_in_one_row(finished_store: Store, rows_of: RowsOf) -> None:
    """Those that the RFT set's rules keep, out of the rationales of the model whose pairs they are."""
    correct = rows_of(
        finished_store,
        "select * from int_correct_rationales where model_id = '1/rft' order by problem_id, sample_index",
    )
    kept = []
    for problem_id in {row["problem_id"] for row in correct}:
        own = [row for row in correct if row["problem_id"] == problem_id]
        reasons = select_correct([row["text"] for row in own], Rft()).drop_reasons
        kept += [row for row, reason in zip(own, reasons, strict=True) if reason is None]
    rows = rows_of(finished_store, f"{OUTCOME} and chosen_rationale_id is not null")
    assert sorted((row["chosen_rationale_id"], row["problem_id"], row["chosen"]) for row in rows) == sorted(
        (row["rationale_id"], row["problem_id"], row["text"]) for row in kept
    )


def test_the_pairs_are_those_of_the_matching(finished_store: Store, rows_of: RowsOf) -> None:
    """Matched again from the stored rows, problem by problem, the same pairs, distances and reasons come out."""
    rows = rows_of(finished_store, f"{OUTCOME} order by problem_id")
    order = {row["rationale_id"]: row["sample_index"] for row in rows_of(finished_store, "select * from rationales")}
    for problem_id in {row["problem_id"] for row in rows}:
        own = [row for row in rows if row["problem_id"] == problem_id]
        correct = sorted((r for r in own if r["chosen"] is not None), key=lambda r: order[r["chosen_rationale_id"]])
        wrong = sorted((r for r in own if r["rejected"] is not None), key=lambda r: order[r["rejected_rationale_id"]])
        found = match([row["chosen"] for row in correct], [row["rejected"] for row in wrong], Pairs())
        pairs = {correct[m.correct_index]["pair_id"]: wrong[m.wrong_index]["pair_id"] for m in found.matches}
        assert pairs == {row["pair_id"]: row["pair_id"] for row in own if row["is_kept"]}
        assert {correct[m.correct_index]["edit_distance"] - m.distance for m in found.matches} <= {0}
        reasons = {correct[i]["pair_id"]: reason for i, reason in found.correct_dropped.items()}
        reasons |= {wrong[i]["pair_id"]: reason for i, reason in found.wrong_dropped.items()}
        assert reasons == {row["pair_id"]: row["drop_reason"] for row in own if not row["is_kept"]}


def test_a_dropped_row_has_one_side_and_a_reason(finished_store: Store, rows_of: RowsOf) -> None:
    rows = rows_of(finished_store, OUTCOME)
    for row in rows:
        sides = (row["chosen"] is not None, row["rejected"] is not None)
        assert row["is_kept"] == (row["drop_reason"] is None) == all(sides)
        assert any(sides)
        if not row["is_kept"]:
            of_side = (
                {"no_wrong_rationale", "no_wrong_left"} if sides[0] else {"no_correct_rationale", "no_correct_left"}
            )
            assert row["drop_reason"] in of_side | ({"duplicate_text"} if sides[1] else set())
    assert {None, "no_wrong_rationale", "no_correct_rationale"} <= {row["drop_reason"] for row in rows}
