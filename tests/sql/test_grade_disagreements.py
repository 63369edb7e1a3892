"""Where the second grader disagrees: found in every table of graded texts, with the gold answer."""

from __future__ import annotations

from typing import Any

from selfexplore_tasks.store.catalogue import SQL_DIR

COLUMNS = "table_name, row_id, model_id, gold_answer, answer, grade_reason, is_correct_strict, is_correct_second"


def test_disagreements_of_all_three_tables_are_listed(hand: Any) -> None:
    right, wrong = {"is_correct_second": True}, {"is_correct_second": False}
    hand.problem("p", gold_answer="1/2")
    hand.rationale("same", **right)
    hand.rationale("without")
    hand.rationale("second-says-wrong", answer="0.5", **wrong)
    hand.wrong_rationale("second-says-right", answer="half", grade_reason="unequal_text", **right)
    rollout = {"rationale_id": "second-says-right", "step_index": 1, "step_count": 2, "prefix": "", "text": "so 3"}
    hand.put("rollouts", {"rollout_id": "r/0", "rollout_index": 0, **rollout, **wrong})
    hand.put("rollouts", {"rollout_id": "r/1", "rollout_index": 1, **rollout, **right})
    hand.put("evaluations", {"model_id": "1/policy", "split": "dev", "problem_id": "p", **wrong})
    rows = hand.rows(f"select {COLUMNS} from grade_disagreements order by table_name, row_id")
    assert [tuple(row.values()) for row in rows] == [
        ("evaluations", "1/policy/dev/p", "1/policy", "1/2", "3", "equal_number", True, False),
        ("rationales", "second-says-right", "1/rft", "1/2", "half", "unequal_text", False, True),
        ("rationales", "second-says-wrong", "1/rft", "1/2", "0.5", "equal_number", True, False),
        ("rollouts", "r/0", "1/rft", "1/2", "3", "equal_number", True, False),
    ]


def test_the_ready_query_counts_equal_disagreements_once(hand: Any) -> None:
    hand.problem("p", gold_answer="1/2")
    for number in range(3):
        hand.rationale(f"r{number}", answer="0.5", is_correct_second=False)
    hand.rationale("other", answer="1 / 2", is_correct_second=False)
    rows = hand.rows((SQL_DIR / "queries" / "grading_disagreements.sql").read_text(encoding="utf-8"))
    assert [(row["answer"], row["text_count"], row["first_row_id"]) for row in rows] == [
        ("0.5", 3, "r0"),
        ("1 / 2", 1, "other"),
    ]
