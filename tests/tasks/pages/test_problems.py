"""The problem browser: filters, pages, and what solved means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from hand_rounds import COUNT, DEV, SLUG, TEST, HandRounds
from selfexplore_tasks.pages.problems import problem_list
from selfexplore_tasks.pages.reader import Reader
from selfexplore_tasks.pages.snapshot import NotFound
from selfexplore_tasks.store.catalogue import SQL_DIR
from selfexplore_tasks.store.champions import ChampionEntry
from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.store.home import Store

Stored = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def flipped(hand: HandRounds) -> Reader:
    """Round 1 loses 5 dev problems and wins 12 test problems."""
    hand.round(1, {DEV: 15, TEST: 32})
    hand.finish(1)
    return Reader(hand.store)


@pytest.mark.parametrize(
    ("status", "split", "total"),
    [
        ("all", None, 4 * COUNT),
        ("all", "dev", 2 * COUNT),
        ("solved", "dev", 15 + 20),
        ("unsolved", "dev", 25 + 20),
        ("newly_solved", "dev", 0),
        ("newly_lost", "dev", 5),
        ("newly_solved", "test", 12),
        ("newly_lost", "test", 0),
    ],
)
def test_dev_and_test_problems_are_solved_by_the_candidate(
    flipped: Reader, status: Any, split: str | None, total: int
) -> None:
    found = problem_list(flipped, SLUG, status=status, split=split, limit=200)
    assert (found.round, found.total, len(found.problems)) == (1, total, total)


def test_newly_lost_problems_are_the_right_ones(flipped: Reader) -> None:
    lost = problem_list(flipped, SLUG, status="newly_lost").problems
    assert [row.problem_id for row in lost] == [f"arithmetic-dev-{number:02d}" for number in range(15, 20)]
    assert {(row.is_solved, row.was_solved) for row in lost} == {(False, True)}


def test_problems_never_tried_are_neither(flipped: Reader) -> None:
    untried = [row for row in problem_list(flipped, SLUG, split="test", limit=200).problems if row.source == "other"]
    assert {(row.is_solved, row.was_solved) for row in untried} == {(None, None)}


def test_round_0_compares_with_nothing(flipped: Reader) -> None:
    first = problem_list(flipped, SLUG, round_number=0, split="dev", limit=200)
    assert {row.was_solved for row in first.problems} == {None}
    assert sum(bool(row.is_solved) for row in first.problems) == COUNT
    assert problem_list(flipped, SLUG, round_number=0, status="newly_solved").total == 0


def test_newly_means_against_the_champion_the_round_started_from(hand: HandRounds) -> None:
    """Round 1's candidate is rejected: round 2 started from round 0's, as `sql/queries/flipped.sql` has it."""
    hand.round(1, {DEV: 15})
    assert hand.finish(1)["promoted"] is False
    hand.round(2, {DEV: 30})
    hand.finish(2)
    query = (SQL_DIR / "queries" / "flipped.sql").read_text(encoding="utf-8")
    rows = [row for row in hand.rows(query) if (row["round"], row["split"]) == (2, "dev")]
    counted = [sum(row["flip"] == flip for row in rows) for flip in ("newly solved", "newly lost")]
    reader = Reader(hand.store)
    shown = [problem_list(reader, SLUG, split="dev", status=one).total for one in ("newly_solved", "newly_lost")]
    assert shown == counted == [10, 0]


def test_a_round_under_way_is_compared_with_a_persons_choice(hand: HandRounds) -> None:
    hand.round(1, {DEV: 15})
    hand.finish(1)
    hand.round(2, {DEV: 30})
    reader = Reader(hand.store)
    assert problem_list(reader, SLUG, split="dev", status="newly_solved").total == 10
    entry = asdict(ChampionEntry("1/policy", 1, "2026-01-01T00:00:00+00:00", "ada", "why not"))
    write_json(hand.store.champion_file(SLUG), {"chosen": [entry]})
    assert problem_list(reader, SLUG, split="dev", status="newly_solved").total == 15


def test_pages_follow_each_other(flipped: Reader) -> None:
    whole = [row.problem_id for row in problem_list(flipped, SLUG, limit=200).problems]
    paged = [
        row.problem_id
        for offset in range(0, len(whole), 30)
        for row in problem_list(flipped, SLUG, offset=offset, limit=30).problems
    ]
    assert paged == whole == sorted(whole)
    behind = problem_list(flipped, SLUG, offset=10_000)
    assert (behind.problems, behind.total) == ([], len(whole))


@pytest.mark.parametrize(
    ("text", "total"), [("OTHER DEV", COUNT), ("arithmetic-dev-07", 1), ("%", 0), ("dev 3?", 2), ("'; drop table x", 0)]
)
def test_text_is_looked_for_in_question_and_id(flipped: Reader, text: str, total: int) -> None:
    assert problem_list(flipped, SLUG, text=text).total == total


def test_training_problems_are_solved_by_any_rationale(reader: Reader, stored: Stored) -> None:
    rationales, pits = stored("rationales"), stored("first_pits")
    found = {row.problem_id: row for row in _all(reader) if row.split == "train"}
    assert len(found) == 280
    sampled = {row["problem_id"] for row in rationales}
    for problem_id, row in found.items():
        mine = [one for one in rationales if one["problem_id"] == problem_id]
        assert row.rationale_count == len(mine)
        assert row.correct_count == sum(one["is_correct_strict"] for one in mine)
        assert row.is_solved == (row.correct_count > 0 if problem_id in sampled else None)
        steps = {one["first_pit_step"] for one in pits if one["problem_id"] == problem_id} - {None}
        assert row.pit_steps == sorted(steps)


def test_a_pit_step_chooses_its_problems(reader: Reader, stored: Stored) -> None:
    for step in (1, 2):
        expected = {row["problem_id"] for row in stored("first_pits") if row["first_pit_step"] == step}
        found = problem_list(reader, "mini", pit_step=step, limit=200)
        assert {row.problem_id for row in found.problems} == expected
    assert problem_list(reader, "mini", pit_step=1_000_000).total == 0


def test_a_round_under_way_shows_its_rationales(store_before: Callable[[str], Store], reader: Reader) -> None:
    before = Reader(store_before("rft"))
    sampled = [row for row in problem_list(before, "mini", split="train", limit=200).problems if row.rationale_count]
    assert sampled
    assert {row.rationale_count for row in sampled} == {4}
    tested = problem_list(before, "mini", split="dev", limit=200).problems
    assert {row.is_solved for row in tested} == {None}, "the round has no candidate yet"
    assert {row.was_solved for row in tested} == {True, False}


def test_a_round_that_has_not_begun_is_not_found(reader: Reader) -> None:
    with pytest.raises(NotFound, match="round 2"):
        problem_list(reader, "mini", round_number=2)


def _all(reader: Reader) -> list[Any]:
    return [row for offset in (0, 200) for row in problem_list(reader, "mini", offset=offset, limit=200).problems]
