"""`selfexplore pits score` on a finished round: known truth, and labelled solutions explored with a real model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.cli import main
from selfexplore_tasks.grading import Grader
from selfexplore_tasks.pits.labelled import explored_steps, find_pits
from selfexplore_tasks.pits.labels import LabelledSolution
from selfexplore_tasks.store.home import Store

RowsOf = Callable[[Store, str], list[dict[str, Any]]]
Score = Callable[..., dict[str, Any]]


@pytest.fixture
def store(finished_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of the finished store, which scoring adds its parts to."""
    shutil.copytree(finished_store.root, tmp_path / "store", symlinks=True)
    monkeypatch.setenv("SELFEXPLORE_HOME", str(tmp_path / "store"))
    return Store(tmp_path / "store")


@pytest.fixture
def labels(store: Store, rows_of: RowsOf, tmp_path: Path) -> Path:
    """Six gold rationales of dev problems, three of them with a false last step and answer."""
    path = tmp_path / "labels.jsonl"
    rows = []
    problems = rows_of(store, "select * from problems where split = 'train' and gold_rationale is not null limit 6")
    for number, problem in enumerate(problems):
        steps = problem["gold_rationale"].splitlines()
        is_wrong = number % 2 == 0
        if is_wrong:
            steps[-1] = "The answer is 77"
        row = {"id": f"s{number}", "problem": problem["question"], "steps": steps, "gold": problem["gold_answer"]}
        rows.append({**row, "label": len(steps) - 1 if is_wrong else -1})
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_known_truth_is_scored_by_step(store: Store, capsys: pytest.CaptureFixture[str], rows_of: RowsOf) -> None:
    assert main(["pits", "score", "--experiment", "mini", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    total = next(row for row in rows if row["is_total"])
    explored = rows_of(store, "select count(*) as n from first_pits where true_wrong_step is not null")[0]["n"]
    assert total["rationale_count"] == explored == sum(row["rationale_count"] for row in rows if not row["is_total"])
    for row in rows:
        assert row["exact"] + row["early"] + row["late"] == pytest.approx(1)
    assert (total["k"], total["explorer_id"]) == (2, "1/rft")
    assert main(["pits", "score", "--experiment", "mini"]) == 0
    assert "explorer accuracy" in capsys.readouterr().out


def test_labels_are_scored_and_the_work_is_kept(store: Store, labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pits", "score", "--experiment", "mini", "--labels", str(labels), "--gold", "gold", "--json"]
    assert main(command) == 0
    first = capsys.readouterr().out
    printed = json.loads(first)
    assert (printed["solutions"], printed["with_wrong_step"], len(printed["found"])) == (6, 3, 6)
    parts = list((store.root / "pits" / "mini").rglob("*.parquet"))
    assert len(parts) == 1
    # Without the model the same command still answers: everything is drawn already.
    shutil.rmtree(store.root / "models" / "mini" / "round=001" / "policy", ignore_errors=True)
    before = parts[0].stat().st_mtime_ns
    assert main(command) == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == printed
    assert parts[0].stat().st_mtime_ns == before
    assert "Engine:" not in again.err


def test_another_setting_is_other_work(store: Store, labels: Path) -> None:
    command = ["pits", "score", "--experiment", "mini", "--labels", str(labels), "--gold", "gold", "--limit", "2"]
    assert main(command) == 0
    for setting in ("explore.k=3", "prompt.answer_phrase=So it is", "grading.timeout_s=2"):
        assert main([*command, "--set", setting]) == 0
    assert len(list((store.root / "pits" / "mini").iterdir())) == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--experiment", "mini", "--set", "explore.k=3"], "--set goes with --labels"),
        (["--experiment", "mini", "--model", "1/rft"], "--model goes with --labels"),
        (["--experiment", "nobody"], "does not exist"),
        (["--experiment", "mini", "--labels", "missing.jsonl", "--gold", "gold"], "missing.jsonl does not exist"),
        (["--experiment", "mini", "--labels", "{labels}", "--gold", "gold", "--limit", "0"], "--limit must be 1"),
        (["--experiment", "mini", "--labels", "{labels}", "--gold", "gold", "--model", "7/rft"], "7/rft"),
        (["--experiment", "mini", "--labels", "{labels}", "--gold", "gold", "--model", "policy"], "is no model"),
        (["--experiment", "mini", "--labels", "{labels}", "--gold", "golds"], "nearest: 'gold'"),
    ],
)
@pytest.mark.usefixtures("store")
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pits", "score", *(argument.format(labels=labels) for argument in arguments)]) == 2
    assert sentence in capsys.readouterr().err


def solution(*steps: str) -> LabelledSolution:
    return LabelledSolution("s", "How many?", "3", steps, -1)


def test_a_step_that_states_the_answer_is_judged_by_it_not_explored() -> None:
    right, wrong = solution("1 + 2 = 3", "The answer is 3"), solution("1 + 2 = 3", "The answer is 4")
    assert explored_steps(right, "The answer is") == ("1 + 2 = 3\n\n",)
    passed = [{"rationale_id": "s", "step_index": 1, "is_correct": True}]
    with Grader(answer_phrase="The answer is") as grader:
        assert find_pits([right], passed, grader, "The answer is") == [-1]
        assert find_pits([wrong], passed, grader, "The answer is") == [1]


def test_the_first_step_without_a_correct_rollout_is_the_pit() -> None:
    rows = [
        {"rationale_id": "s", "step_index": step, "is_correct": is_correct}
        for step, is_correct in [(1, False), (1, True), (2, False), (2, False)]
    ]
    with Grader(answer_phrase="The answer is") as grader:
        assert find_pits([solution("a", "b", "c")], rows, grader, "The answer is") == [1]


def test_a_step_without_a_correct_rollout_before_one_that_passed_is_no_pit() -> None:
    rows = [
        {"rationale_id": "s", "step_index": step, "is_correct": is_correct}
        for step, is_correct in [(1, False), (2, True), (4, False), (3, False)]
    ]
    with Grader(answer_phrase="The answer is") as grader:
        assert find_pits([solution("a", "b", "c", "d")], rows, grader, "The answer is") == [2]
