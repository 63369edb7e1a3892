"""``selfexplore grade``: verdicts, agreement with labels, misses with their reasons, one sentence for bad input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfexplore_tasks.cli import main

GRADING = Path(__file__).resolve().parents[3] / "shared" / "data" / "grading"
needs_data = pytest.mark.skipif(not GRADING.is_dir(), reason="the shared grading files (../shared/data) are not here")
COLUMNS = ("--gold", "gold", "--prediction", "text")
ROWS: list[dict[str, Any]] = [
    {"gold": "1,080", "text": "2 * 540 = 1080\nThe answer is 1080.", "right": True},
    {"gold": 5, "text": "5", "right": True},
    {"gold": "5", "text": "The answer is 6", "right": True},
    {"gold": "x+1", "text": r"so $\boxed{1+x}$", "right": False},
    {"gold": "7", "text": "She has seven.\nOr more.", "right": False},
    {"gold": "7", "text": "x" * 201, "right": False},
    {"gold": "8", "text": "A: 8", "right": True},
]
Grade = Callable[..., Any]


@pytest.fixture
def grade(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Grade:
    """Runs the command on rows (or a file's bytes, or a path); returns its JSON, its text, or its error."""

    def call(rows: Iterable[object] | bytes | Path, *options: str, code: int = 0, columns: Any = COLUMNS) -> Any:
        path = rows if isinstance(rows, Path) else tmp_path / "rows.jsonl"
        if isinstance(rows, bytes):
            path.write_bytes(rows)
        elif not isinstance(rows, Path):
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        assert main(["grade", str(path), *columns, *options]) == code
        captured = capsys.readouterr()
        if code:
            assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
            return captured.err
        return json.loads(captured.out) if "--json" in options else captured.out

    return call


def test_labels_give_agreement_and_every_miss(grade: Grade) -> None:
    report = grade(ROWS, "--label", "right", "--json")
    counts = {"rows", "agree", "false_positive", "false_negative", "unreadable_gold"}
    assert report.keys() == counts | {"misses", "unreadable", "seconds"}
    assert (report["rows"], report["agree"]) == (7, 5)
    assert (report["false_positive"], report["false_negative"]) == (1, 1)
    assert report["misses"] == [
        {
            "row": 3,
            "gold": "5",
            "prediction": "The answer is 6",
            "answer": "6",
            "verdict": "wrong",
            "reason": "unequal_number",
            "label": True,
        },
        {
            "row": 4,
            "gold": "x+1",
            "prediction": r"so $\boxed{1+x}$",
            "answer": "1+x",
            "verdict": "correct",
            "reason": "equal_symbolic",
            "label": False,
        },
    ]


def test_a_gold_answer_that_cannot_be_read_is_listed_beside_the_labels(grade: Grade) -> None:
    report = grade([*ROWS, {"gold": r"\frac{1}{", "text": "1", "right": False}], "--label", "right", "--json")
    assert (report["rows"], report["agree"], report["unreadable_gold"]) == (8, 6, 1)
    assert report["unreadable"] == [{"row": 8, "gold": r"\frac{1}{"}]


def test_without_labels_verdicts_are_counted_and_unreadable_golds_listed(grade: Grade) -> None:
    report = grade([*ROWS, {"gold": r"\frac{1}{", "text": "1"}, {"gold": None, "text": "1"}], "--json")
    counts = {(row["verdict"], row["reason"]): row["rows"] for row in report["verdicts"]}
    assert report["rows"] == sum(counts.values()) == 9
    assert counts["correct", "equal_number"] == 3
    assert counts["correct", "equal_symbolic"] == 1
    assert counts["no_answer", "no_answer"] == 2
    assert report["unreadable_gold"] == 2
    assert report["unreadable"] == [{"row": 8, "gold": r"\frac{1}{"}, {"row": 9, "gold": ""}]


def test_the_table_lists_what_the_json_lists(grade: Grade) -> None:
    text = grade(ROWS, "--label", "right")
    lines = text.splitlines()
    assert lines[0].split() == ["rows", "agree", "false_positive", "false_negative", "unreadable_gold", "seconds"]
    assert lines[2].split()[:5] == ["7", "5", "1", "1", "0"]
    assert "misses" in lines
    assert "unequal_number" in text and "equal_symbolic" in text
    assert "equal_number" in grade(ROWS)


def test_parquet_reads_as_jsonl_does(grade: Grade, tmp_path: Path) -> None:
    rows = [{**row, "gold": str(row["gold"])} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    report = grade(tmp_path / "rows.parquet", "--label", "right", "--json")
    assert {**report, "seconds": 0} == {**grade(rows, "--label", "right", "--json"), "seconds": 0}


def test_only_the_phrase_given_is_looked_for(grade: Grade) -> None:
    rows = [{"gold": "3", "text": "A: 2\nSo: 3"}]
    assert grade(rows, "--json")["verdicts"][0]["verdict"] == "wrong"
    assert grade(rows, "--answer-phrase", "So:", "--json")["verdicts"][0]["verdict"] == "correct"
    assert grade(rows, "--answer-phrase", "Then:", "--json")["verdicts"][0]["verdict"] == "no_answer"


def test_the_second_graders_disagreements_are_listed(grade: Grade) -> None:
    report = grade(ROWS, "--label", "right", "--second", "string_match", "--json")
    assert [(row["row"], row["verdict"], row["second"]) for row in report["second_disagrees"]] == [
        (1, "correct", False),
        (4, "correct", False),
    ]


def test_configurations_are_honoured_from_their_column(grade: Grade) -> None:
    interval, set_comparison = {"match_types": ["latex"]}, {"allow_set_relation_comp": True, "match_types": ["latex"]}
    row = {"gold": "$(1,2)$", "text": "$1 < x < 2$", "right": True}
    report = grade([{**row, "config": interval}, {**row, "config": set_comparison}], "--label", "right", "--json")
    assert [miss["row"] for miss in report["misses"]] == [1]
    renamed = [{**row, "settings": set_comparison}]
    assert grade(renamed, "--label", "right", "--config", "settings", "--json")["agree"] == 1
    # A column `config` that holds something else is not looked at.
    assert grade([{"gold": "1", "text": "1", "config": "fast"}], "--json")["rows"] == 1


def lines(*rows: object) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


GOOD = {"gold": "1", "text": "1", "right": True}
BAD_INPUT: dict[str, tuple[bytes, tuple[str, ...], str]] = {
    "broken line": (lines(GOOD) + b'{"gold": \n', (), "Line 2 of"),
    "no object": (lines(GOOD, [1]), (), "is a JSON list"),
    "not UTF-8": (lines(GOOD) + b'{"gold": "\xff"}\n', (), "is not UTF-8"),
    "empty": (b"", (), "is empty"),
    "blank lines": (b"\n\n", (), "is empty"),
    "no gold": (lines({"golds": "1", "text": "1"}), (), "has no column 'gold' (nearest: 'golds')"),
    "no prediction": (lines({"gold": "1", "texts": "1"}), (), "has no column 'text' (nearest: 'texts')"),
    "no label": (lines(GOOD), ("--label", "rigth"), "has no column 'rigth' (nearest: 'right')"),
    "no config": (lines(GOOD), ("--config", "goal"), "has no column 'goal' (nearest: 'gold')"),
    "label not boolean": (lines({**GOOD, "right": "maybe"}), ("--label", "right"), "holds 'maybe' in row 1"),
    "label missing": (lines(GOOD, {"gold": "1", "text": "1"}), ("--label", "right"), "holds nothing in row 2"),
    "config without types": (lines({**GOOD, "c": {"precision": 1}}), ("--config", "c"), "holds no configuration"),
    "config of other types": (lines({**GOOD, "c": {"match_types": ["str"]}}), ("--config", "c"), "no configuration"),
    "unknown setting": (lines({**GOOD, "c": {"match_types": ["expr"], "a": 1}}), ("--config", "c"), "no configuration"),
    "gold a list": (lines({**GOOD, "gold": ["1"]}), (), "holds a list in row 1"),
    "half a surrogate": (b'{"gold": "1", "text": "\\ud800"}\n', (), "half a surrogate pair"),
    "no time": (lines(GOOD), ("--timeout", "0"), "--timeout must be more than 0"),
    "endless time": (lines(GOOD), ("--timeout", "inf"), "at most 600 seconds"),
    "blank phrase": (lines(GOOD), ("--answer-phrase", " "), "--answer-phrase must not be blank"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_sentence_and_exit_code_2(name: str, grade: Grade) -> None:
    content, options, part = BAD_INPUT[name]
    assert part in grade(content, *options, code=2)


def test_a_missing_or_foreign_file_is_one_sentence_and_exit_code_2(grade: Grade, tmp_path: Path) -> None:
    assert "does not exist" in grade(tmp_path / "none.jsonl", code=2)
    assert "neither .jsonl nor .parquet" in grade(tmp_path / "none.csv", code=2)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    assert "corrupt" in grade(tmp_path / "broken.parquet", code=2)


@needs_data
@pytest.mark.parametrize("prediction", ["pred", "pred_text"])
def test_all_gsm8k_model_solutions_agree(prediction: str, grade: Grade) -> None:
    columns = ("--gold", "gold", "--prediction", prediction)
    report = grade(GRADING / "gsm8k_model_solutions.jsonl", "--label", "equal", "--json", columns=columns)
    assert (report["rows"], report["agree"], report["misses"]) == (5_276, 5_276, [])


@needs_data
@pytest.mark.parametrize(
    ("name", "count", "misses"),
    [
        # 189 holds Python source, not an answer; 265 calls 1 - 1/e and 1 + 1/e equal.
        ("math_verify", 269, {189: "unparsed", 265: "unparsed"}),
        # Math-Verify reads a list as a set: "4, 10, -2" and "10, 4, -2" are equal.
        ("hendrycks_math_equivalence", 16, {2: "equal_symbolic", 9: "equal_symbolic"}),
    ],
)
def test_outside_cases_agree_but_for_those_listed(name: str, count: int, misses: dict[int, str], grade: Grade) -> None:
    columns = ("--gold", "gold", "--prediction", "pred")
    options = ("--label", "equal", "--timeout", "60", "--json")
    report = grade(GRADING / f"{name}.jsonl", *options, columns=columns)
    assert (report["rows"], report["agree"]) == (count, count - len(misses))
    assert {miss["row"]: miss["reason"] for miss in report["misses"]} == misses
