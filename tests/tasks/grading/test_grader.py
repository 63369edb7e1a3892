"""Verdicts, the outside cases of shared/data, and hostile text."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.grading import (
    AnswerPair,
    Grader,
    GradeRequest,
    SymbolicOptions,
    answers_equal,
    gold_from_gsm8k,
    last_boxed,
)

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


def test_numbers_need_no_subprocess_and_are_fast() -> None:
    requests = [GradeRequest(f"1 + {i} = {i + 1}\nThe answer is {i + 1}", f"{i + 1:,}", "stop") for i in range(5_000)]
    with Grader(answer_phrase="The answer is") as grader:
        start = time.perf_counter()
        grades = grader.grade(requests)
        assert time.perf_counter() - start < 5.0
        assert all(grade.is_correct_strict for grade in grades)
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


def test_math_golds_equal_the_last_box_of_their_solution(grader: Grader) -> None:
    rows = random.Random(0).sample(read_rows("math/train.jsonl"), 500)
    grades = grader.grade([GradeRequest(row["solution"], row["answer"], "stop") for row in rows])
    assert [row["unique_id"] for row, grade in zip(rows, grades, strict=True) if not grade.is_correct_strict] == []
    assert all(last_boxed(row["solution"]) is not None for row in rows)


def hostile_texts(canary: Path) -> list[str]:
    """Return some hundreds of texts that try to hang, crash, exhaust or run something."""
    code = f"open({str(canary)!r}, 'w').write('x')"
    fixed = [
        "9**9**9**9",
        "9^{9^{9^{9}}}",
        r"\frac{" * 3_000,
        "(" * 5_000 + "1" + ")" * 5_000,
        "{" * 400 + "1" + "}" * 400,
        r"\left(" * 60 + "x" + r"\right)" * 60,
        r"\sqrt{" * 100 + "2" + "}" * 100,
        "\0" * 100,
        "1\0002",
        "1" * 1_000_000,
        "x" * 1_000_000,
        "1e999999999",
        "10^{10^{10}}!",
        "100000!",
        r"\int_0^1 x^{x^{x^x}} dx",
        r"\sum_{k=1}^{10^9} \sin(k)",
        f"__import__('pathlib').Path({str(canary)!r}).touch()",
        f"exec({code!r})",
        code,
        rf"\text{{{code}}}",
        "lambda: 0",
        "\ud800",
        "\u202e12",
        "$" * 999,
        "\\" * 999,
    ]
    rng = random.Random(7)
    alphabet = [
        "\\frac",
        "{",
        "}",
        "^",
        "_",
        "9",
        "x",
        "(",
        ")",
        "\\sqrt",
        "$",
        "!",
        "\\boxed{",
        "=",
        ",",
        "\0",
        "\\\\",
        " ",
    ]
    return fixed + ["".join(rng.choices(alphabet, k=rng.randint(1, 60))) for _ in range(300)]


def test_hostile_texts_cost_bounded_time_and_run_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    texts = hostile_texts(canary)
    with Grader(answer_phrase="The answer is", timeout_s=1.0, workers=2) as grader:
        grader.grade([GradeRequest("The answer is 1+x", "x+1", "stop")])
        start = time.monotonic()
        for gold in ("7", "x+1"):
            grades = grader.grade([GradeRequest(f"The answer is {text}", gold, "stop") for text in texts])
            assert len(grades) == len(texts)
            assert not any(grade.is_correct_strict for grade in grades if grade.reason in ("timeout", "error"))
        assert time.monotonic() - start < 240
        (after,) = grader.grade([GradeRequest("The answer is 1+x", "x+1", "stop")])
        assert after.verdict == "correct"
    assert not canary.exists()
    assert list(tmp_path.iterdir()) == []
