"""Verdicts, the outside cases of shared/data, and hostile text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.grading import (
    AnswerPair,
    Grader,
    GradeRequest,
    SecondGrader,
    SymbolicOptions,
    answers_equal,
    gold_from_gsm8k,
    last_boxed,
)
from selfexplore_tasks.recipe_files import load_recipe
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.generation import grade_columns, open_grader
from selfexplore_tasks.store.experiments import Experiment
from selfexplore_tasks.store.home import Store

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def read_rows(name: str) -> list[dict[str, Any]]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"needs ../shared/data/{name}, which this checkout has not beside it")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("text", "gold", "finish_reason", "verdict", "is_flexible", "reason"),
    [
        ("The answer is 1080.", "1,080", "stop", "correct", True, "equal_number"),
        ("The answer is 7.", "8", "stop", "wrong", False, "unequal_number"),
        ("The answer is 7, not 8", "8", "stop", "wrong", True, "unequal_symbolic"),
        ("She has 8", "8", "stop", "no_answer", True, "no_answer"),
        ("She has", "8", "stop", "no_answer", False, "no_answer"),
        ("She has 8 and", "8", "length", "unfinished", True, "unfinished"),
        ("", "8", "length", "unfinished", False, "unfinished"),
        ("The answer is 8", "8", "length", "correct", True, "equal_number"),
        ("The answer is Friday", r"\text{Friday}", "stop", "correct", True, "equal_text"),
        ("The answer is Monday", "Friday", "stop", "wrong", False, "unequal_text"),
        ("The answer is $x+2$", "x+1", "stop", "wrong", False, "unequal_symbolic"),
        (r"The answer is \frac{1}{", "x+1", "stop", "wrong", False, "unparsed"),
        ("The answer is " + "x" * 1_500, "x+1", "stop", "wrong", False, "too_long"),
        ("The answer is " + "(" * 30 + "x" + ")" * 30, "x+1", "stop", "wrong", False, "too_complex"),
        (r"so $\boxed{1+x}$", "x+1", "stop", "correct", True, "equal_symbolic"),
        (r"The answer is $\frac{\sqrt{4}}{4}$", "0.5", "stop", "correct", True, "equal_symbolic"),
    ],
)
def test_verdicts(
    grader: Grader, text: str, gold: str, finish_reason: str, verdict: str, is_flexible: bool, reason: str
) -> None:
    (grade,) = grader.grade([GradeRequest(text, gold, finish_reason)])
    assert (grade.verdict, grade.is_correct_flexible, grade.reason) == (verdict, is_flexible, reason)
    assert grade.is_correct_strict == (verdict == "correct")
    assert (grade.answer is None) == (verdict in ("no_answer", "unfinished"))


def test_a_comparison_that_cannot_end_is_wrong_because_of_its_time_and_costs_nothing_else() -> None:
    texts = [r"The answer is \prod_{k=1}^{99999} \sqrt{k^3+1}", "The answer is 1+x"]
    with Grader(answer_phrase="The answer is", timeout_s=1.0) as grader:
        late, right = grader.grade([GradeRequest(text, "x+1", "stop") for text in texts])
    assert (late.verdict, late.reason) == ("wrong", "timeout")
    assert (right.verdict, right.reason) == ("correct", "equal_symbolic")


@pytest.mark.parametrize(
    ("answer", "gold", "is_correct", "string_match", "math_verify"),
    [
        ("1080", "1,080", True, False, True),
        ("1,080", "1,080", True, True, True),
        ("1+x", "x+1", True, False, True),
        ("5", "6", False, False, False),
        # Each of the two is wrong where the first grader is right.
        ("0.50", r"\frac12", True, False, True),
        ("18 eggs", "18", True, False, False),
    ],
)
def test_the_second_grader_is_asked_and_never_decides(
    answer: str, gold: str, is_correct: bool, string_match: bool, math_verify: bool
) -> None:
    request = GradeRequest(f"The answer is {answer}", gold, "stop")
    with Grader(answer_phrase="The answer is") as alone:
        (grade,) = alone.grade([request])
    assert (grade.is_correct_strict, grade.is_correct_second) == (is_correct, None)
    seconds: tuple[tuple[SecondGrader, bool], ...] = (("string_match", string_match), ("math_verify", math_verify))
    for name, expected in seconds:
        with Grader(answer_phrase="The answer is", second=name) as both:
            (with_second,) = both.grade([request])
        assert with_second == replace(grade, is_correct_second=expected)


def test_without_an_answer_the_second_grader_calls_it_wrong() -> None:
    with Grader(answer_phrase="The answer is", second="string_match") as both:
        grades = both.grade([GradeRequest("She has 8", "8", reason) for reason in ("stop", "length")])
    assert [(grade.verdict, grade.is_correct_second) for grade in grades] == [
        ("no_answer", False),
        ("unfinished", False),
    ]


def test_a_stage_stores_what_the_second_grader_of_its_recipe_says(tmp_path: Path) -> None:
    recipe = load_recipe("arithmetic-tiny", {"grading.second": "string_match"})
    context = StageContext(Store(tmp_path), Experiment("e", recipe, "hash", "2026-01-01"), 1, "sample")
    with open_grader(context) as grader:
        (grade,) = grader.grade([GradeRequest("The answer is 22.0", "22", "stop")])
    assert grade_columns(grade) == {
        "answer": "22.0",
        "is_correct_flexible": True,
        "grade_reason": "equal_number",
        "is_correct_second": False,
    }


def test_numbers_need_no_subprocess() -> None:
    requests = [GradeRequest(f"1 + {i} = {i + 1}\nThe answer is {i + 1}", f"{i + 1:,}", "stop") for i in range(5_000)]
    with Grader(answer_phrase="The answer is") as grader:
        assert all(grade.is_correct_strict for grade in grader.grade(requests))
        assert not grader.has_subprocesses


def test_gsm8k_model_solutions_all_agree() -> None:
    rows = read_rows("grading/gsm8k_model_solutions.jsonl")
    with Grader(answer_phrase="A:") as grader:
        grades = grader.grade([GradeRequest(row["pred_text"], row["gold"], "stop") for row in rows])
    misses = [row["id"] for row, grade in zip(rows, grades, strict=True) if grade.is_correct_strict != row["equal"]]
    assert misses == []


def test_hendrycks_equivalence_but_for_the_order_of_lists(grader: Grader) -> None:
    rows = read_rows("grading/hendrycks_math_equivalence.jsonl")
    equalities = grader.compare([AnswerPair(row["gold"], row["pred"]) for row in rows])
    misses = [row["test"] for row, found in zip(rows, equalities, strict=True) if found.is_equal != row["equal"]]
    # Math-Verify reads "4, 10, -2" as a set.
    assert misses == ["test_order", "test_decimals"]


def test_math_verify_cases_with_their_settings(grader: Grader) -> None:
    rows = read_rows("grading/math_verify.jsonl")
    equalities = grader.compare([AnswerPair(row["gold"], row["pred"], _options(row)) for row in rows])
    misses = [row["id"] for row, found in zip(rows, equalities, strict=True) if found.is_equal != row["equal"]]
    # 188 holds Python source, not an answer; 264 calls 1 - 1/e and 1 + 1/e equal.
    assert misses == ["math_verify-188", "math_verify-264"]


def _options(row: dict[str, Any]) -> SymbolicOptions | None:
    config = row.get("config")
    if config is None:
        return None
    return SymbolicOptions(
        match_types=tuple(config["match_types"]),
        precision=int(config.get("precision", 6)),
        strict=config.get("strict", True),
        allow_set_relation_comp=config.get("allow_set_relation_comp", False),
    )


def test_every_gsm8k_gold_is_a_number_equal_to_itself_and_to_its_own_answer_line() -> None:
    rows = read_rows("gsm8k/train.jsonl") + read_rows("gsm8k/test.jsonl")
    golds = [gold_from_gsm8k(row["answer"])[1] for row in rows]
    assert all(answers_equal(gold, gold) for gold in golds)
    with Grader(answer_phrase="####") as grader:
        grades = grader.grade(
            [GradeRequest(row["answer"], gold, "stop") for row, gold in zip(rows, golds, strict=True)]
        )
        assert all(grade.reason == "equal_number" for grade in grades)
        assert not grader.has_subprocesses


# The solution goes on after its box with a sentence that says "the answer is ...". What is trained on has no exception:
# it ends in an answer line (test_sources reads all of them).
SAID_OTHERWISE = {
    "train/algebra/642.json": "necessary because squaring both sides",
    "train/counting_and_probability/841.json": "24?",
    "train/geometry/612.json": "yes! To form such a pyramid",
    "train/prealgebra/1593.json": "in simplest form",
    "test/number_theory/137.json": "a multiple of 3 but is NOT a multiple of 4",
}
EMPTY_BOX = {"train/number_theory/7115.json", "train/number_theory/7117.json"}


def test_all_math_golds_equal_themselves_and_the_answer_of_their_solution(grader: Grader) -> None:
    rows = read_rows("math/train.jsonl") + read_rows("math/test.jsonl")
    assert len(rows) == 12_500
    assert {row["unique_id"] for row in rows if not row["answer"]} == EMPTY_BOX
    rows = [row for row in rows if row["answer"]]
    equalities = grader.compare([AnswerPair(row["answer"], row["answer"]) for row in rows])
    assert {equality.reason for equality in equalities} == {"equal_number", "equal_text"}
    grades = grader.grade([GradeRequest(row["solution"], row["answer"], "stop") for row in rows])
    wrong = {row["unique_id"]: grade for row, grade in zip(rows, grades, strict=True) if not grade.is_correct_strict}
    assert wrong.keys() == SAID_OTHERWISE.keys()
    for problem, begin in SAID_OTHERWISE.items():
        assert (wrong[problem].answer or "").startswith(begin)
    assert all(last_boxed(row["solution"]) is not None for row in rows)
