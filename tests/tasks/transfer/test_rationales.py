"""`import rationales`: what is taken, what is left out and said, and what a killed import leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.locks import stage_lock
from selfexplore_tasks.store.manifests import read_manifest

MODEL = "1/imported"


def test_texts_become_graded_rationales_of_training_problems(bench: Any) -> None:
    said = bench.import_rationales(bench.sampled())
    rows = bench.rows("select * from rationales order by problem_id, sample_index")
    assert len(rows) == 2 * 8
    assert {row["model_id"] for row in rows} == {MODEL}
    assert [(row["sample_index"], row["verdict"]) for row in rows] == [(0, "correct"), (1, "wrong")] * 8
    assert {row["finish_reason"] for row in rows} == {"stop"}
    assert {(row["token_count"], row["logprob_mean"], row["seed"]) for row in rows} == {(None, None, None)}
    assert [row["text"] for row in rows[::2]] == [bench.right(number) for number in bench.train_numbers()]
    assert "16 rationales into round 1" in said
    assert "2 dev_problem" in said and "2 test_problem" in said


def test_the_manifest_says_where_they_came_from(bench: Any) -> None:
    file = bench.write(bench.sampled(), "elsewhere.jsonl")
    bench.import_rationales(file)
    manifest = read_manifest(bench.store, "brought", 1, "sample")
    assert manifest.notes["model_id"] == MODEL
    assert manifest.notes["imported_from"] == "elsewhere.jsonl"
    assert len(manifest.notes["sha256"]) == 64
    assert manifest.notes["left_out"] == {"dev_problem": 2, "test_problem": 2}
    assert manifest.row_counts == {"rationales": 16, "problems": 8}


def test_single_strings_add_up_in_order_and_columns_have_any_name(bench: Any) -> None:
    rows = [
        {"q": f"  {bench.question(number)}\n", "a": number + 3, "completion": text, "why": why}
        for number in range(2, 14)
        for text, why in ((bench.wrong(number), "stop"), (bench.right(number)[:-12], "length"), (" 1\n", None))
    ]
    file = bench.folder / "made.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    names = ("--question", "q", "--gold", "a", "--texts", "completion", "--finish-reason", "why")
    bench.import_rationales(file, *names)
    found = bench.rows(
        "select list((verdict, finish_reason) order by sample_index) as drawn from rationales group by problem_id"
    )
    drawn = [tuple(item.values()) for item in found[0]["drawn"]]
    assert drawn == [("wrong", "stop"), ("unfinished", "length"), ("no_answer", "stop")]
    assert {row["text"] for row in bench.rows("select text from rationales where sample_index = 2")} == {" 1\n"}


def test_the_finish_reasons_of_a_list_belong_to_its_texts(bench: Any) -> None:
    rows = [{**row, "finish_reason": ["length", "stop"]} for row in bench.sampled()]
    bench.import_rationales(rows)
    found = bench.rows("select distinct sample_index, finish_reason from rationales order by sample_index")
    assert [row["finish_reason"] for row in found] == ["length", "stop"]


def test_what_is_left_out_is_counted_and_the_first_five_are_listed(bench: Any) -> None:
    good = bench.sampled()
    bench.import_rationales(good)
    train = bench.train_numbers()
    (bench.folder / "home").rename(bench.folder / "old_home")
    of = {row["question"]: row for row in good}
    first, second, third = (of[bench.question(number)] for number in train[:3])
    bad = [
        {**first, "question": "Who are you?"},
        {**first, "gold": "1234"},
        {**second, "texts": ["", None, bench.right(train[1])]},
        {**third, "texts": []},
        {**third, "texts": ["x" * 100_001, bench.right(train[2])], "finish_reason": ["stop", "content_filter"]},
        {**third, "texts": None},
    ]
    said = bench.import_rationales(bad)
    manifest = read_manifest(bench.store, "brought", 1, "sample")
    assert manifest.notes["left_out"] == {
        "unknown_question": 1,
        "other_gold": 1,
        "empty_text": 2,
        "no_text": 2,
        "too_long": 1,
        "unknown_finish_reason": 1,
    }
    assert manifest.row_counts == {"rationales": 1, "problems": 1}
    assert "row 1, unknown_question: 'Who are you?'" in said
    assert f"row 2, other_gold: '1234 here, {train[0] + 3} in the experiment'" in said
    assert sum(line.startswith("  row ") for line in said.splitlines()) == 5


def test_gold_answers_agree_as_the_grader_says(bench: Any) -> None:
    rows = [{**row, "gold": f"${row['gold']}.00"} for row in bench.sampled()]
    bench.import_rationales(rows)
    assert bench.rows("select count(*) as n from rationales")[0]["n"] == 16


def test_any_number_of_texts_a_problem_but_none_twice(bench: Any) -> None:
    """The recipe asks for two samples; thousands come, more than one part holds."""
    rows = bench.sampled()
    rows = [{**row, "texts": row["texts"] * (1000 + 100 * index)} for index, row in enumerate(rows)]
    bench.import_rationales(rows)
    manifest = read_manifest(bench.store, "brought", 1, "sample")
    count = manifest.row_counts["rationales"]
    assert count > 20_000
    assert len(manifest.parts["rationales"]) == -(-count // 20_000)
    found = bench.rows("select count(*) as n, count(distinct rationale_id) as ids from rationales")
    assert found == [{"n": count, "ids": count}]
    places = bench.rows(
        "select problem_id from rationales group by problem_id having max(sample_index) != count(*) - 1"
    )
    assert places == []


def broken(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be used, with what must be said."""
    line = json.dumps({"question": "q", "gold": "1", "texts": ["t"]}).encode() + b"\n"
    contents = {
        "no_utf8.jsonl": (line + b'{"question": "\xff"}\n', "Line 2 of"),
        "no_json.jsonl": (line + b'{"question": \n', "Line 2 of"),
        "no_object.jsonl": (b"[1]\n", "Line 1 of"),
        "empty.jsonl": (b"", "is empty"),
        "column.jsonl": (b'{"question": "q", "gold": "1", "text": ["t"]}\n', "nearest: 'text'"),
        "table.csv": (line, "neither .jsonl nor .parquet"),
        "broken.parquet": (b"PAR1 no", "not a parquet file"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {name: (folder / name, said) for name, (_, said) in contents.items()}


@pytest.mark.parametrize(
    "name",
    [
        "no_utf8.jsonl",
        "no_json.jsonl",
        "no_object.jsonl",
        "empty.jsonl",
        "column.jsonl",
        "table.csv",
        "broken.parquet",
        "missing.jsonl",
    ],
)
def test_a_file_that_cannot_be_used_leaves_nothing_behind(name: str, bench: Any) -> None:
    files = broken(bench.folder)
    file, said = files.get(name, (bench.folder / name, "missing.jsonl cannot be read"))
    before = bench.files()
    error = bench.import_rationales(file, code=2)
    assert error.startswith("error: ") and error.count("\n") == 1
    assert said in error
    assert bench.files() == before


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "half a surrogate pair": ({"texts": ["\ud800"]}, "surrogate"),
    "a number as text": ({"texts": [7]}, "Column 'texts' holds a int"),
    "an object as text": ({"texts": {"a": "b"}}, "Column 'texts' holds a dict"),
    "another number of finish reasons": ({"texts": ["a", "b", "c"], "finish_reason": ["stop"] * 2}, "3 texts and 2"),
    "a list as question": ({"question": ["q"], "texts": ["a"]}, "Column 'question' holds a list"),
    "nothing that fits": ({"question": "Who?", "texts": ["a"]}, "nothing to import (12 unknown_question; row 1"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_row_that_cannot_be_read_is_named_and_nothing_is_written(case: str, bench: Any) -> None:
    change, said = CASES[case]
    rows = bench.write([{**row, **change} for row in bench.sampled()])
    before = bench.files()
    error = bench.import_rationales(rows, code=2)
    assert said in error and error.count("\n") == 1
    assert bench.files() == before


def test_a_named_column_must_be_there(bench: Any) -> None:
    error = bench.import_rationales(bench.sampled(), "--finish-reason", "golt", code=2)
    assert "no column 'golt' (nearest: 'gold')" in error


def test_a_new_experiment_needs_a_recipe(bench: Any) -> None:
    file = bench.write(bench.sampled())
    assert "give it a recipe" in bench.run("import", "rationales", file, "--experiment", "new", code=2)


@pytest.mark.parametrize(("number", "said"), [(0, "--round must be 1 or more"), (2, "needs summarize of round 1")])
def test_a_round_that_cannot_take_rationales(number: int, said: str, bench: Any) -> None:
    assert said in bench.import_rationales(bench.sampled(), "--round", number, code=2)
    assert not (bench.folder / "home").exists()


def test_dev_and_test_problems_never_become_training_data(bench: Any) -> None:
    bench.import_rationales(bench.sampled())
    assert bench.rows("select distinct split from rationales join problems using (problem_id)") == [{"split": "train"}]


def test_the_same_file_again_is_done_and_another_one_is_refused(bench: Any) -> None:
    bench.import_rationales(bench.sampled())
    first = read_manifest(bench.store, "brought", 1, "sample")
    assert "imported already" in bench.import_rationales(bench.sampled())
    error = bench.import_rationales(bench.sampled(range(2, 13)), code=2)
    assert "is done already (imported from made.jsonl)" in error and "another experiment" in error
    assert "is done already" in bench.import_rationales(bench.sampled(), "--texts", "gold", code=2)
    assert read_manifest(bench.store, "brought", 1, "sample") == first


def test_a_stage_that_runs_keeps_its_place(bench: Any) -> None:
    bench.run("stage", "prepare", "--experiment", "brought", "--round", 0, "--recipe", bench.recipe)
    with stage_lock(bench.store, "brought", round_number=1, stage="sample", shard=0):
        assert "is live" in bench.import_rationales(bench.sampled(), code=2)
    assert read_manifest(bench.store, "brought", 1, "sample") is None


KILLED = """
import os, signal, sys
from selfexplore_tasks.cli import main
from selfexplore_tasks.stages import context
prepared = context.write_manifest
def die(store, manifest, **how):
    if manifest.stage == "prepare":
        return prepared(store, manifest, **how)
    os.kill(os.getpid(), signal.SIGKILL)
context.write_manifest = die
main(sys.argv[1:])
"""


def test_an_import_killed_before_its_manifest_is_made_again(bench: Any) -> None:
    """Neither a reader nor the stage itself takes what it left for rationales."""
    file = bench.write(bench.sampled())
    arguments = ["import", "rationales", str(file), "--experiment", "brought", "--recipe", str(bench.recipe)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    folder = bench.store.table_dir("rationales", "brought", 1)
    assert [path.name for path in folder.iterdir()] == ["part-sample_import-00000.parquet"]
    assert bench.rows("select * from rationales") == []
    bench.import_rationales(bench.sampled(range(2, 13)))
    assert {row["model_id"] for row in bench.rows("select model_id from rationales")} == {MODEL}
    assert len(bench.rows("select * from rationales")) == 2 * len(set(bench.train_numbers()) & set(range(2, 13)))


def test_a_round_that_was_not_imported_still_needs_the_one_before(bench: Any) -> None:
    bench.run("stage", "prepare", "--experiment", "brought", "--round", 0, "--recipe", bench.recipe)
    with pytest.raises(UserError, match="needs summarize of round 0"):
        run_stage(bench.store, "brought", "sample", round_number=1)
