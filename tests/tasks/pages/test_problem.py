"""The page of a problem: its rationales step by step, with what was drawn behind each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hand_rounds import DEV, SLUG, HandRounds
from selfexplore_tasks.pages.problem import problem_page
from selfexplore_tasks.pages.problem_model import ProblemPage
from selfexplore_tasks.pages.reader import Reader
from selfexplore_tasks.pages.snapshot import NotFound
from selfexplore_tasks.steps import explorable_steps
from selfexplore_tasks.store.home import Store

Stored = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def pages(reader: Reader, stored: Stored) -> dict[str, ProblemPage]:
    """Every problem that was explored."""
    return {
        problem_id: problem_page(reader, "mini", problem_id, limit=50)
        for problem_id in {row["problem_id"] for row in stored("first_pits")}
    }


def test_steps_and_tail_are_the_rationale(pages: dict[str, ProblemPage], stored: Stored) -> None:
    texts = {row["rationale_id"]: row["text"] for row in stored("rationales")}
    for page in pages.values():
        for rationale in page.rationales:
            steps, text = [step.text for step in rationale.steps], texts[rationale.rationale_id]
            assert "".join(steps) + rationale.tail == text
            assert steps == explorable_steps(text, "lines", answer_phrase="The answer is", max_steps=20)
            assert [step.step for step in rationale.steps] == list(range(1, len(steps) + 1))


def test_every_rationale_of_the_problem_is_there_explored_ones_first(
    pages: dict[str, ProblemPage], stored: Stored
) -> None:
    for problem_id, page in pages.items():
        ids = {row["rationale_id"] for row in stored("rationales") if row["problem_id"] == problem_id}
        assert {rationale.rationale_id for rationale in page.rationales} == ids
        assert page.rationale_total == len(ids)
        flags = [rationale.is_explored for rationale in page.rationales]
        assert flags == sorted(flags, reverse=True)
        explored = {row["rationale_id"] for row in stored("first_pits") if row["problem_id"] == problem_id}
        assert {one.rationale_id for one in page.rationales if one.is_explored} == explored


def test_counts_and_pits_are_those_of_the_stage(pages: dict[str, ProblemPage], stored: Stored) -> None:
    pits = {row["rationale_id"]: row for row in stored("first_pits")}
    marked = 0
    for page in pages.values():
        for rationale in page.rationales:
            pit = pits.get(rationale.rationale_id)
            passes, draws = (pit["pass_counts"], pit["draw_counts"]) if pit else ([], [])
            tried = [(step.pass_count, step.draw_count) for step in rationale.steps][: len(draws)]
            assert tried == list(zip(passes, draws, strict=True))
            assert {step.draw_count for step in rationale.steps[len(draws) :]} <= {None}
            assert rationale.first_pit_step == (pit["first_pit_step"] if pit else None)
            assert rationale.true_wrong_step == (pit["true_wrong_step"] if pit else None)
            first = [step.step for step in rationale.steps if step.is_first_pit]
            assert first == ([rationale.first_pit_step] if rationale.first_pit_step else [])
            marked += len(first)
    assert marked > 0


def test_rollouts_stand_behind_the_step_they_were_drawn_after(pages: dict[str, ProblemPage], stored: Stored) -> None:
    shown = {
        rollout.rollout_id: (rollout, "".join(step.text for step in rationale.steps[:number]))
        for page in pages.values()
        for rationale in page.rationales
        for number, step_of in enumerate(rationale.steps, 1)
        for rollout in step_of.rollouts
        for step in [step_of]
    }
    rows = {row["rollout_id"]: row for row in stored("rollouts")}
    assert shown.keys() == rows.keys()
    for rollout_id, (rollout, prefix) in shown.items():
        row = rows[rollout_id]
        assert (rollout.text, rollout.answer, rollout.is_correct) == (row["text"], row["answer"], row["is_correct"])
        assert prefix == row["prefix"]


def test_pairs_and_answers_of_the_problem(pages: dict[str, ProblemPage], stored: Stored) -> None:
    for problem_id, page in pages.items():
        rows = {row["pair_id"]: row for row in stored("pairs") if row["problem_id"] == problem_id}
        assert {pair.pair_id for pair in page.pairs} == rows.keys()
        for pair in page.pairs:
            row = rows[pair.pair_id]
            assert (pair.chosen, pair.rejected, pair.is_kept) == (row["chosen"], row["rejected"], row["is_kept"])
        assert page.answers == [], "training problems are not evaluated"


def test_a_limit_cuts_each_round(reader: Reader, pages: dict[str, ProblemPage]) -> None:
    problem_id, whole = max(pages.items(), key=lambda item: item[1].rationale_total)
    cut = problem_page(reader, "mini", problem_id, limit=2)
    assert [one.rationale_id for one in cut.rationales] == [one.rationale_id for one in whole.rationales][:2]
    assert cut.rationale_total == whole.rationale_total > 2


def test_rounds_count_what_is_not_shown_too(reader: Reader, pages: dict[str, ProblemPage], stored: Stored) -> None:
    rows = stored("rationales")
    for problem_id in list(pages)[:5]:
        mine = [row["is_correct_strict"] for row in rows if row["problem_id"] == problem_id]
        (counted,) = problem_page(reader, "mini", problem_id, limit=1).rounds
        assert (counted.round, counted.rationale_count, counted.correct_count) == (1, len(mine), sum(mine))
        assert len(mine) > 1


def change_longest(reader: Reader, **changes: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Change the row in `first_pits` of the rationale with the most steps; returns it, and all rows of its part."""
    (path,) = reader.snapshot("mini").parts("first_pits")
    with pq.ParquetFile(path) as part:
        pits = part.read()
    rows = pits.to_pylist()
    longest = max(rows, key=lambda row: row["step_count"])
    longest.update(changes)
    pq.write_table(pa.Table.from_pylist(rows, pits.schema), path)
    return longest, rows


def test_without_rollouts_a_rationale_is_not_explored(store_before: Callable[[str], Store]) -> None:
    """There was nothing to explore; its outcome pair says nothing of that."""
    reader = Reader(store_before("summarize"))
    gone, rows = change_longest(reader, pass_counts=[], draw_counts=[], first_pit_step=None)
    page = problem_page(reader, "mini", gone["problem_id"])
    expected = {row["rationale_id"] for row in rows if row["problem_id"] == gone["problem_id"] and row["draw_counts"]}
    assert {one.rationale_id for one in page.rationales if one.is_explored} == expected
    assert gone["rationale_id"] not in expected


@pytest.mark.parametrize(("passes", "pit"), [([0, 1, 0], 3), ([0, None, 1], None), ([1, 0, 0], 2)])
def test_a_step_that_failed_before_one_that_passed_is_undecided(
    store_before: Callable[[str], Store], passes: list[int | None], pit: int | None
) -> None:
    """Search noisy_binary leaves such steps: they are no pits."""
    reader = Reader(store_before("summarize"))
    draws = [0 if count is None else 1 for count in passes]
    row, _ = change_longest(reader, pass_counts=passes, draw_counts=draws, first_pit_step=pit)
    page = problem_page(reader, "mini", row["problem_id"])
    (shown,) = [one for one in page.rationales if one.rationale_id == row["rationale_id"]]
    assert [step.step for step in shown.steps if step.is_undecided] == ([1] if passes[0] == 0 else [])
    assert [step.step for step in shown.steps if step.is_first_pit] == ([pit] if pit else [])


def test_before_stage_explore_nothing_is_explored(store_before: Callable[[str], Store], stored: Stored) -> None:
    page = problem_page(Reader(store_before("explore")), "mini", stored("first_pits")[0]["problem_id"])
    assert [pair.kind for pair in page.pairs if pair.is_kept]
    assert not any(one.is_explored for one in page.rationales)


def test_many_rollouts_are_cut_evenly(reader: Reader, stored: Stored) -> None:
    problem_id = stored("first_pits")[0]["problem_id"]
    snapshot = reader.snapshot("mini")
    ids = [row["rationale_id"] for row in stored("first_pits") if row["problem_id"] == problem_id]

    def steps(total: int) -> list[tuple[str, int, int]]:
        parts = {"rollouts": snapshot.parts("rollouts")}
        limits = {"row_limit": 50, "row_total": total}
        rows = reader.rows("problem_rollouts", parts, problem_id=problem_id, rationale_ids=ids, **limits)  # type: ignore[arg-type]
        return [(row["rationale_id"], row["step"], row["place"]) for row in rows]

    firsts = [one for one in steps(1_000) if one[2] == 1]
    assert len(firsts) < len(steps(1_000))
    assert steps(len(firsts)) == firsts


def test_a_dev_problem_shows_how_every_model_answered(hand: HandRounds) -> None:
    hand.round(1, {DEV: 15})
    page = problem_page(Reader(hand.store), SLUG, "arithmetic-dev-17")
    assert [(one.model_id, one.is_correct_strict, one.text) for one in page.answers] == [
        ("0/sft", True, "The answer is 3"),
        ("1/policy", False, "The answer is 3"),
    ]
    assert (page.rationales, page.rationale_total, page.pairs, page.gold_answer) == ([], 0, [], "3")


@pytest.mark.parametrize("problem_id", ["", "nothing", "../x", "' or 1=1 --", "a\0b", "%", "x" * 500])
def test_an_unknown_problem_is_not_found(reader: Reader, problem_id: str) -> None:
    with pytest.raises(NotFound):
        problem_page(reader, "mini", problem_id)
