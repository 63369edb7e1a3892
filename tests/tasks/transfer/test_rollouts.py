"""`import rollouts`: completions drawn elsewhere find the first pit, or it is said why they cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from selfexplore_tasks.store.manifests import read_manifest

Row = dict[str, Any]


def test_the_first_pit_is_found_without_any_model(finished: Any) -> None:
    pits = finished.rows("select distinct first_pit_step, step_count, pass_counts, draw_counts from first_pits")
    assert pits == [{"first_pit_step": 2, "step_count": 2, "pass_counts": [1, 0], "draw_counts": [3, 2]}]
    number = finished.train_numbers()[0]
    pair = finished.rows(
        "select prompt, prefix, chosen, rejected, is_kept from pairs where kind = 'granular' order by problem_id"
    )[0]
    first_step = f"{number} + 4 = {number + 4}\n"
    assert pair == {
        "prompt": f"{finished.question(number)}\n{first_step}",
        "prefix": first_step,
        "chosen": f"{number + 4} - 1 = {number + 3}\nThe answer is {number + 3}",
        "rejected": f"{number + 4} - 1 = {number + 2}\n",
        "is_kept": True,
    }
    assert not (finished.store.root / "models").exists()


def test_rollouts_are_rows_as_explored_ones(finished: Any) -> None:
    rows = finished.rows("select * from rollouts order by rollout_id")
    assert len(rows) == 8 * 5
    assert {row["model_id"] for row in rows} == {"1/imported"}
    one = rows[1]
    assert one["rollout_id"] == f"{one['rationale_id']}/s01/01"
    assert (one["step_index"], one["rollout_index"], one["step_count"], one["is_correct"]) == (1, 1, 2, True)
    assert one["token_count"] is None
    manifest = read_manifest(finished.store, "brought", 1, "explore")
    assert manifest.row_counts == {"rollouts": 40, "rationales": 8, "without_rollouts": 0}
    assert manifest.notes["model_id"] == "1/imported" and manifest.notes["imported_from"] == "rollouts.jsonl"


def test_one_text_a_row_adds_up_and_a_right_prefix_is_accepted(paired: Any) -> None:
    rows = []
    for row in paired.explored(paired.train_numbers()):
        prefix = "".join(row["rationale"].splitlines(keepends=True)[: row["step"]])
        rows += [{**row, "step": float(row["step"]), "texts": text, "prefix": prefix} for text in row["texts"]]
    paired.import_rollouts(rows)
    assert paired.rows("select distinct draw_counts from int_first_pits") == [{"draw_counts": [3, 2]}]


def test_steps_behind_the_pit_do_no_harm(paired: Any) -> None:
    """Another program may draw after every step: the pit is still the first one that fails."""
    rows = paired.explored(paired.train_numbers())
    rows = [{**row, "texts": ["The answer is 1"] if row["step"] == 1 else row["texts"]} for row in rows]
    paired.import_rollouts(rows)
    paired.stages("granular_pairs")
    assert paired.rows("select distinct first_pit_step from first_pits") == [{"first_pit_step": 1}]
    # The right rationale begins with the same step: there is nothing to prefer.
    dropped = paired.rows("select distinct pit_step, drop_reason from pairs where kind = 'granular'")
    assert dropped == [{"pit_step": 1, "drop_reason": "no_chosen"}]


def test_what_is_not_to_be_explored_is_counted_and_listed(paired: Any) -> None:
    train = paired.train_numbers()
    rows = paired.explored(train[:-1])
    other = {**rows[0], "rationale": paired.right(train[0])}
    late = {**rows[0], "step": 3}
    held_out = next(number for number in range(2, 14) if number not in train)
    said = paired.import_rollouts([*rows, other, late, *paired.explored([held_out])])
    manifest = read_manifest(paired.store, "brought", 1, "explore")
    assert manifest.row_counts == {"rollouts": 35, "rationales": 7, "without_rollouts": 1}
    (held_out_reason,) = set(manifest.notes["left_out"]) - {"not_explored", "no_such_step"}
    assert held_out_reason in ("dev_problem", "test_problem")
    assert manifest.notes["left_out"] == {"not_explored": 1, "no_such_step": 1, held_out_reason: 2}
    assert "1 not_explored" in said and "row 15, not_explored" in said
    paired.stages("granular_pairs")
    unexplored = paired.rows("select drop_reason from pairs where kind = 'granular' and not is_kept")
    assert unexplored == [{"drop_reason": "no_pit"}]


def without_step_one(rows: list[Row]) -> list[Row]:
    return rows[1:]


CASES: dict[str, tuple[Callable[[list[Row]], list[Row]], str]] = {
    "a gap": (without_step_one, "has rollouts after step 2 and none after step 1"),
    "step zero": (lambda rows: [{**rows[0], "step": 0}], "holds '0' in row 1"),
    "no number": (lambda rows: [{**rows[0], "step": "second"}], "a step is a whole number"),
    "a huge number": (lambda rows: [{**rows[0], "step": "9" * 5000}], "a step is a whole number"),
    "half a step": (lambda rows: [{**rows[0], "step": 1.5}], "a step is a whole number"),
    "no step": (lambda rows: [{**rows[0], "step": None}], "a step is a whole number"),
    "another split": (
        lambda rows: [{**row, "prefix": row["rationale"][:9]} for row in rows],
        "Column 'prefix' of row 1",
    ),
    "nothing that fits": (lambda rows: [{**rows[0], "rationale": "1 = 1"}], "nothing to import (1 not_explored"),
    "no text": (lambda rows: [{**rows[0], "texts": []}], "nothing to import (1 no_text"),
    "no such column": (lambda rows: [{"question": "q", "rationale": "r", "texts": ["t"]}], "no column 'step'"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_cannot_be_used_leaves_nothing_behind(case: str, paired: Any) -> None:
    spoil, said = CASES[case]
    file = paired.write(spoil(paired.explored(paired.train_numbers())), "rollouts.jsonl")
    before = paired.files()
    error = paired.import_rollouts(file, code=2)
    assert said in error and error.count("\n") == 1
    assert paired.files() == before


def test_they_need_outcome_pairs(bench: Any) -> None:
    bench.import_rationales(bench.sampled())
    assert "needs outcome_pairs of round 1" in bench.import_rollouts(bench.explored([2]), code=2)


def test_the_experiment_must_be_there(bench: Any) -> None:
    assert "does not exist" in bench.import_rollouts(bench.explored([2]), code=2)


def test_the_same_file_again_is_done_and_another_one_is_refused(finished: Any) -> None:
    train = finished.train_numbers()
    assert "imported already" in finished.import_rollouts(finished.explored(train))
    error = finished.import_rollouts(finished.explored(train[1:]), code=2)
    assert "Stage explore of round 1 of 'brought' is done already (imported from rollouts.jsonl)" in error
