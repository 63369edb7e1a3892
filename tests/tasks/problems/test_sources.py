"""Reading sources: formats, gold normalisation, rejected rows, and one sentence for every broken file."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.grading.compare import compare_locally, normalise_answer
from selfexplore_tasks.grading.extract import extract_answer
from selfexplore_tasks.problems.benchmarks import with_answer_line
from selfexplore_tasks.problems.model import RejectedRow
from selfexplore_tasks.problems.sources import Candidate, normalise_question, read_source
from selfexplore_tasks.recipe import Source

PHRASE = "The answer is"
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared benchmark files (../shared/data) are not here")
SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


def _read(**source: object) -> tuple[list[Candidate], list[RejectedRow]]:
    return read_source(SOURCE.validate_python(source), seed=1, answer_phrase=PHRASE)


def _message(**source: object) -> str:
    with pytest.raises(UserError) as caught:
        _read(**source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def _jsonl(path: Path, rows: Iterable[object]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def test_gsm8k_rationale_keeps_calculator_marks_and_ends_in_the_phrase(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "a.jsonl", [{"question": "Q?", "answer": "48/2 = <<48/2=24>>24 clips.\nDone.\n#### 24"}])
    (row,), rejected = _read(kind="gsm8k", path=path)
    assert rejected == []
    assert row == Candidate("gsm8k", 1, "Q?", "24", "48/2 = <<48/2=24>>24 clips.\nDone.\nThe answer is 24")


def test_math_gold_is_the_last_box_and_the_solution_gets_an_answer_line(tmp_path: Path) -> None:
    solution = "First \\boxed{1}, so it is $\\boxed{\\frac{1}{2}}$."
    path = _jsonl(tmp_path / "a.jsonl", [{"problem": "P", "solution": solution, "answer": "ignored"}])
    (row,), _ = _read(kind="math", path=path)
    assert (row.gold_answer, row.gold_rationale) == ("\\frac{1}{2}", f"{solution}\nThe answer is \\frac{{1}}{{2}}")


@pytest.mark.parametrize("row", [{"question": "Q", "answer": 51.0}, {"question_concat": "Q", "Answer": "51.0"}])
def test_svamp_is_read_in_both_layouts(tmp_path: Path, row: dict[str, object]) -> None:
    (candidate,), _ = _read(kind="svamp", path=_jsonl(tmp_path / "svamp.jsonl", [row]))
    assert candidate.gold_rationale is None
    assert float(candidate.gold_answer) == 51


def test_file_with_mapped_columns_reads_alike_from_jsonl_and_parquet(tmp_path: Path) -> None:
    rows = [{"q": "How many?", "a": 2.5, "why": "Count.\nthe answer is 2.5", "extra": [1]}, {"q": "B", "a": 7}]
    columns = {"question": "q", "answer": "a", "rationale": "why"}
    from_jsonl = _read(kind="file", path=_jsonl(tmp_path / "mine.jsonl", rows), columns=columns)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mine.parquet")
    assert from_jsonl == _read(kind="file", path=str(tmp_path / "mine.parquet"), columns=columns)
    assert from_jsonl[0] == [
        Candidate("mine", 1, "How many?", "2.5", "Count.\nThe answer is 2.5"),
        Candidate("mine", 2, "B", "7", None),
    ]


def test_answerless_empty_and_duplicate_rows_are_listed_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = ['{"question": " ", "answer": "1"}', '{"question": "A", "answer": null}', '{"question": "A", "answer": "1"}']
    rows += ["", '{"question": "A  ", "answer": "2"}', '{"question": "B", "answer": NaN}', '{"question": "C"}']
    path.write_text("\ufeff" + "\r\n".join(rows), encoding="utf-8")
    usable, rejected = _read(kind="file", path=str(path))
    assert [(row.row_number, row.question, row.gold_answer) for row in usable] == [(3, "A", "1")]
    assert [(row.row_number, row.reason) for row in rejected] == [
        (1, "empty_question"),
        (2, "no_answer"),
        (5, "duplicate"),
        (6, "no_answer"),
        (7, "no_answer"),
    ]


@pytest.mark.parametrize(("kind", "answer"), [("gsm8k", "no mark"), ("gsm8k", "x ####"), ("boxed", "no box")])
def test_an_answer_without_its_mark_is_no_answer(tmp_path: Path, kind: str, answer: str) -> None:
    path = _jsonl(tmp_path / "a.jsonl", [{"question": "Q", "answer": answer}])
    assert [row.reason for row in _read(kind="file", path=path, answer_format=kind)[1]] == ["no_answer"]


def test_unicode_forms_and_spaces_make_no_new_question() -> None:
    assert normalise_question("cafe\u0301\n one ") == normalise_question("caf\u00e9 one")
    assert normalise_question("x\u00b2") != normalise_question("x2")


def test_answer_line_replaces_one_that_is_there() -> None:
    assert with_answer_line("One.\n the answer is 3.", "4", PHRASE) == "One.\nThe answer is 4"
    assert with_answer_line("One.\n#### 3", "4", PHRASE) == "One.\nThe answer is 4"
    assert with_answer_line("The answer is 3", "3", PHRASE) is None


def test_arithmetic_rationales_end_in_the_recipes_phrase() -> None:
    source = SOURCE.validate_python({"kind": "arithmetic", "count": 20})
    rows, rejected = read_source(source, seed=3, answer_phrase="#Answer:")
    assert (len(rows), rejected) == (20, [])
    for row in rows:
        assert row.gold_rationale is not None
        assert row.gold_rationale.splitlines()[-1] == f"#Answer: {row.gold_answer}"
        assert PHRASE not in row.gold_rationale
    assert read_source(source, seed=3, answer_phrase="#Answer:")[0] == rows


def test_arithmetic_that_runs_out_of_questions_is_a_user_error() -> None:
    assert "cannot be generated" in _message(kind="arithmetic", count=10**5, min_steps=1, max_steps=1, max_value=9)


def test_broken_files_are_named_in_one_sentence(tmp_path: Path) -> None:
    def write(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    good = b'{"question": "Q", "answer": "1"}\n'
    cases = {
        write("broken.jsonl", good + b'{"question": \n'): "Line 2 of",
        write("deep.jsonl", b"[" * 100_000): "Line 1 of",
        write("list.jsonl", good + b"[1]\n"): "is a JSON list",
        write("latin.jsonl", good + b'{"question": "caf\xe9"}\n'): "is not UTF-8",
        write("surrogate.jsonl", b'{"question": "\\ud800", "answer": "1"}\n'): "surrogate",
        write("nested.jsonl", b'{"question": {"a": 1}, "answer": "1"}\n'): "'question' holds a dict in row 1",
        write("flag.jsonl", b'{"question": "Q", "answer": true}\n'): "'answer' holds a bool in row 1",
        write("empty.jsonl", b""): "is empty",
        write("blank.jsonl", b"\n\n"): "is empty",
        write("empty.parquet", b""): "is empty",
        write("corrupt.parquet", b"PAR1" + b"\x00" * 200 + b"PAR1"): "is corrupt or not a parquet file",
        write("text.parquet", good): "is corrupt or not a parquet file",
        write("table.csv", b"question,answer\n"): "neither .jsonl nor .parquet",
        str(tmp_path / "none.jsonl"): "does not exist",
    }
    for path, part in cases.items():
        message = _message(kind="file", path=path)
        assert part in message and path in message, message


def test_damaged_parquet_page_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"question": [f"Q{i}" for i in range(5000)], "answer": ["1"] * 5000}), path)
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    assert "is corrupt or not a parquet file" in _message(kind="file", path=str(path))


def test_empty_parquet_table_is_empty(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"question": pa.array([], pa.string()), "answer": pa.array([], pa.string())}), tmp_path / "a.parquet"
    )
    assert "is empty" in _message(kind="file", path=str(tmp_path / "a.parquet"))


def test_folder_named_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    assert "cannot be read (Is a directory)" in _message(kind="file", path=str(tmp_path / "a.jsonl"))


def test_missing_column_is_named_with_those_present_and_the_nearest(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "a.jsonl", [{"Questions": "Q", "answer": "1", "id": 1}])
    assert _message(kind="file", path=path) == (
        f"{path} has no column 'question' (nearest: 'Questions'): it has Questions, answer, id."
    )


def test_data_folder_is_used_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFEXPLORE_DATA", str(tmp_path))
    (tmp_path / "gsm8k").mkdir()
    _jsonl(tmp_path / "gsm8k" / "test.jsonl", [{"question": "Q", "answer": "#### 1"}])
    assert _read(kind="gsm8k", split="test")[0] == [Candidate("gsm8k", 1, "Q", "1", None)]


@pytest.mark.parametrize("kind", ["gsm8k", "math", "svamp"])
def test_unreachable_hub_fails_within_seconds_and_says_what_to_set(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    from huggingface_hub import constants

    # A closed port stands in for a network without the Hub.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.delenv("SELFEXPLORE_DATA", raising=False)
    offline_before = (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)
    started = time.monotonic()
    message = _message(kind=kind)
    assert time.monotonic() - started < 8
    assert "could not be read from the Hub" in message
    assert f"set SELFEXPLORE_DATA to a folder that holds {kind}/" in message
    assert offline_before == (datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)


def test_hub_data_set_reads_a_local_folder_of_the_same_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` takes a folder for an id, so the whole way through the library is tried without a network."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    _jsonl(
        tmp_path / "set" / "train.jsonl",
        [{"question": "Q", "answer": "1", "other": 2}, {"question": "", "answer": "1"}],
    )
    usable, rejected = _read(kind="hub", path=str(tmp_path / "set"))
    assert [(row.row_number, row.question, row.gold_answer) for row in usable] == [(1, "Q", "1")]
    assert [(row.row_number, row.reason) for row in rejected] == [(2, "empty_question")]
    message = _message(kind="hub", path=str(tmp_path / "set"), columns={"question": "qestion"})
    assert "has no column 'qestion' (nearest: 'question'): it has answer, other, question." in message


@needs_data
@pytest.mark.parametrize(
    ("kind", "split", "usable", "reasons"),
    [
        ("gsm8k", "train", 7473, []),
        ("gsm8k", "test", 1319, []),
        # Two published solutions end in an empty box.
        ("math", "train", 7497, ["duplicate", "no_answer", "no_answer"]),
        ("math", "test", 5000, []),
        ("svamp", "test", 1000, []),
    ],
)
def test_real_benchmarks_are_read_whole(
    kind: str, split: str, usable: int, reasons: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFEXPLORE_DATA", str(DATA))
    rows, rejected = _read(kind=kind, split=split)
    assert (len(rows), [row.reason for row in rejected]) == (usable, reasons)
    assert all((row.gold_rationale is None) == (kind == "svamp") for row in rows)
    for row in rows:
        assert "\n" not in row.gold_answer
        if row.gold_rationale is not None:
            assert row.gold_rationale.splitlines()[-1] == f"{PHRASE} {row.gold_answer}"
            answer = extract_answer(row.gold_rationale, PHRASE)
            assert answer is not None
            verdict = compare_locally(normalise_answer(row.gold_answer), normalise_answer(answer))
            assert verdict in ("equal_number", "equal_text")


@needs_data
@pytest.mark.parametrize("split", ["train", "test"])
def test_math_golds_are_the_published_answers(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFEXPLORE_DATA", str(DATA))
    with (DATA / "math" / f"{split}.jsonl").open(encoding="utf-8") as lines:
        published = [" ".join(json.loads(line)["answer"].split()) for line in lines]
    for row in _read(kind="math", split=split)[0]:
        assert row.gold_answer == published[row.row_number - 1]


def test_a_box_without_braces_is_read(tmp_path: Path) -> None:
    solutions = ["so $\\boxed 2$.", "$\\boxed{1}$ or $\\boxed 12.$", "$\\boxed 3$ or $\\boxed{4}$"]
    path = _jsonl(tmp_path / "a.jsonl", [{"problem": f"P{i}", "solution": s} for i, s in enumerate(solutions)])
    assert [row.gold_answer for row in _read(kind="math", path=path)[0]] == ["2", "12", "4"]


def test_reading_a_file_needs_no_datasets_library() -> None:
    code = (
        "import sys, selfexplore_tasks.problems.splits; "
        "sys.exit(bool({'datasets', 'torch', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_golds_that_cannot_be_read_are_listed_and_give_way_to_a_readable_duplicate(tmp_path: Path) -> None:
    golds = ["42", "\\frac{1}{", "[0,1)", "???", "Friday", "5 +"]
    rows = [{"question": f"Q{i}", "answer": gold} for i, gold in enumerate(golds)]
    rows.append({"question": "Q1", "answer": "\\frac{1}{2}"})
    usable, rejected = _read(kind="file", path=_jsonl(tmp_path / "a.jsonl", rows))
    assert [row.gold_answer for row in usable] == ["42", "[0,1)", "Friday", "\\frac{1}{2}"]
    assert [(row.row_number, row.reason) for row in rejected] == [
        (2, "unreadable_answer"),
        (4, "unreadable_answer"),
        (6, "unreadable_answer"),
    ]
