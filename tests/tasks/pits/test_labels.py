"""Reading labelled solutions: the published layout, own columns, and every way a file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.pits.labels import LabelColumns, read_labels, sample_labels

ROW = {"id": "a", "problem": "How many?", "steps": ["One.", "Two."], "label": 1, "gold": "3"}
OWN_GOLD = LabelColumns(gold="gold")


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_file_with_its_own_gold_answers(tmp_path: Path) -> None:
    (found,) = read_labels(write(tmp_path / "l.jsonl", ROW), OWN_GOLD, None)
    assert (found.solution_id, found.gold_answer, found.steps, found.label) == ("a#1", "3", ("One.", "Two."), 1)


def test_rows_with_the_same_id_stay_apart(tmp_path: Path) -> None:
    first, second = read_labels(write(tmp_path / "l.jsonl", ROW, ROW), OWN_GOLD, None)
    assert first.solution_id != second.solution_id


def test_gold_answers_from_another_file_match_by_question(tmp_path: Path) -> None:
    golds = write(tmp_path / "golds.jsonl", {"question": "How  many?", "answer": "7"})
    (found,) = read_labels(write(tmp_path / "l.jsonl", ROW), LabelColumns(), golds)
    assert found.gold_answer == "7"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": []}, "must be a list of texts"),
        ({"steps": "One. Two."}, "must be a list of texts"),
        ({"label": 2}, "0-based number of the first wrong step, or -1 for none; got 2 for 2 steps"),
        ({"label": -2}, "got -2"),
        ({"label": True}, "got True"),
        ({"label": None}, "got None"),
        ({"gold": ""}, "has no gold answer"),
        ({"steps": ["One.", "half \ud800"]}, "half a surrogate pair"),
    ],
)
def test_bad_rows_are_one_sentence_with_the_row(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = write(tmp_path / "l.jsonl", ROW, {**ROW, **change})
    with pytest.raises(UserError, match="row 2") as caught:
        read_labels(path, OWN_GOLD, None)
    assert sentence in str(caught.value)


def test_without_gold_answers_it_says_how_to_give_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--gold, or their source with --golds"):
        read_labels(write(tmp_path / "l.jsonl", ROW), LabelColumns(), None)


def test_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nearest: 'steps'"):
        read_labels(write(tmp_path / "l.jsonl", ROW), LabelColumns(steps="step", gold="gold"), None)


def test_a_sample_is_seeded_and_keeps_the_order(tmp_path: Path) -> None:
    rows = [{**ROW, "id": str(number)} for number in range(20)]
    everything = read_labels(write(tmp_path / "l.jsonl", *rows), OWN_GOLD, None)
    some = sample_labels(everything, 5, seed=1)
    assert some == sample_labels(everything, 5, seed=1) != sample_labels(everything, 5, seed=2)
    numbers = [int(one.solution_id.partition("#")[2]) for one in some]
    assert numbers == sorted(numbers)
    assert sample_labels(everything, None, seed=1) == everything
