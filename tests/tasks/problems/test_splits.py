"""Splitting problems: counts, determinism, rationales on a part, and problems found in two splits."""

from __future__ import annotations

import collections
import json
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.problems.model import Problem, RejectedRow
from selfexplore_tasks.problems.splits import load_problems
from selfexplore_tasks.recipe import Problems
from selfexplore_tasks.recipe_files import load_recipe

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared benchmark files (../shared/data) are not here")
ARITHMETIC = {"kind": "arithmetic", "count": 300}


def _load(seed: int = 1, **problems: object) -> tuple[list[Problem], list[RejectedRow]]:
    return load_problems(Problems.model_validate(problems), seed=seed, answer_phrase="The answer is")


def _message(**problems: object) -> str:
    with pytest.raises(UserError) as caught:
        _load(**problems)
    return str(caught.value)


def _ids(problems: Iterable[Problem], split: str) -> list[str]:
    return [problem.problem_id for problem in problems if problem.split == split]


def _file(path: Path, questions: Iterable[str]) -> dict[str, str]:
    path.write_text("".join(json.dumps({"question": q, "answer": "1"}) + "\n" for q in questions), encoding="utf-8")
    return {"kind": "file", "path": str(path)}


def _sizes(problems: Iterable[Problem]) -> dict[str, int]:
    return dict(collections.Counter(problem.split for problem in problems))


def test_dev_and_test_are_cut_from_the_training_source() -> None:
    problems, rejected = _load(train=ARITHMETIC, dev_count=50, test_count=40, train_count=100)
    assert _sizes(problems) == {"train": 100, "dev": 50, "test": 40}
    assert len({problem.problem_id for problem in problems}) == 190
    assert rejected == []
    everything, _ = _load(train=ARITHMETIC, dev_count=50)
    assert _sizes(everything) == {"train": 200, "dev": 50, "test": 50}


def test_test_comes_whole_or_in_part_from_its_own_source(tmp_path: Path) -> None:
    test = _file(tmp_path / "held_out.jsonl", (f"T{i}" for i in range(30)))
    problems, _ = _load(train=ARITHMETIC, test=test, dev_count=50)
    assert _sizes(problems) == {"train": 250, "dev": 50, "test": 30}
    assert {problem.source for problem in problems if problem.split == "test"} == {"held_out"}
    fewer, _ = _load(train=ARITHMETIC, test=test, dev_count=50, test_count=10)
    assert _ids(fewer, "test") == _ids(problems, "test")[:10]


def test_other_benchmarks_have_splits_of_their_own_and_are_never_trained_on(tmp_path: Path) -> None:
    other = _file(tmp_path / "other.jsonl", (f"O{i}" for i in range(30)))
    benchmarks = [{"name": "b", "source": other, "dev_count": 10, "test_count": 5}]
    problems, _ = _load(train=ARITHMETIC, dev_count=50, benchmarks=benchmarks)
    theirs = [problem for problem in problems if problem.source == "b"]
    assert _sizes(theirs) == {"dev": 10, "test": 5}
    assert all(problem.problem_id.startswith("b-") and problem.gold_rationale is None for problem in theirs)
    assert [problem for problem in problems if problem.source != "b"] == _load(train=ARITHMETIC, dev_count=50)[0]
    rest, _ = _load(train=ARITHMETIC, dev_count=50, benchmarks=[{"name": "b", "source": other, "dev_count": 10}])
    assert _sizes(problem for problem in rest if problem.source == "b") == {"dev": 10, "test": 20}
    assert "Benchmark b has 30 usable problems" in _message(
        train=ARITHMETIC, benchmarks=[{"name": "b", "source": other, "dev_count": 31}]
    )


def test_a_training_problem_that_a_benchmark_measures_stops_or_is_dropped(tmp_path: Path) -> None:
    train = _file(tmp_path / "train.jsonl", (f"Q{i}" for i in range(100)))
    other = _file(tmp_path / "other.jsonl", ("Q7", "Q8"))
    options = {"train": train, "dev_count": 5, "test_count": 5, "benchmarks": [{"name": "b", "source": other}]}
    assert "is in both train and test" in _message(**{**options, "dev_count": 1, "test_count": 1})
    problems, rejected = _load(**options, on_overlap="drop_train")
    assert {row.question for row in rejected if row.reason == "in_test"} == {"Q7", "Q8"}
    assert not {"Q7", "Q8"} & {problem.question for problem in problems if problem.source != "b"}


def test_same_seed_same_problems_other_seed_others() -> None:
    options = {"train": ARITHMETIC, "dev_count": 50, "rationale_count": 20}
    assert _load(seed=5, **options) == _load(seed=5, **options)
    assert set(_ids(_load(seed=5, **options)[0], "dev")) != set(_ids(_load(seed=6, **options)[0], "dev"))


def test_split_depends_neither_on_row_order_nor_on_train_count(tmp_path: Path) -> None:
    questions = [f"Question {i}" for i in range(100)]
    first, _ = _load(train=_file(tmp_path / "a.jsonl", questions), dev_count=20, test_count=10)
    random.Random(0).shuffle(questions)
    again, _ = _load(train=_file(tmp_path / "a.jsonl", questions), dev_count=20, test_count=10, train_count=30)
    assert _ids(again, "dev") == _ids(first, "dev")
    assert _ids(again, "test") == _ids(first, "test")
    assert _ids(again, "train") == _ids(first, "train")[:30]


def test_ids_are_the_source_and_a_hash_of_the_question(tmp_path: Path) -> None:
    problems, _ = _load(train=_file(tmp_path / "my data.jsonl", ["A  b", "C", "D"]), dev_count=1, test_count=1)
    by_question = {problem.question: problem.problem_id for problem in problems}
    # sha256 of the normalised question "A b"
    assert by_question["A  b"] == "my_data-a760b0e1e518"


@pytest.mark.parametrize(("count", "kept"), [(None, 200), (30, 30), (0, 0)])
def test_only_so_many_training_problems_keep_their_rationale(count: int | None, kept: int) -> None:
    problems, _ = _load(train=ARITHMETIC, dev_count=50, rationale_count=count)
    solved = [problem for problem in problems if problem.gold_rationale is not None]
    assert len(solved) == kept
    assert {problem.split for problem in solved} <= {"train"}


def test_more_rationales_than_there_are_is_refused(tmp_path: Path) -> None:
    train = _file(tmp_path / "a.jsonl", (f"Q{i}" for i in range(30)))
    message = _message(train=train, dev_count=5, rationale_count=3)
    assert message.startswith("Only 0 of 20 training problems have a gold rationale")


def test_too_few_problems_are_refused_with_the_sum() -> None:
    message = _message(train=ARITHMETIC, dev_count=200, test_count=50, train_count=100)
    assert "has 300 usable problems, but the splits need 350 (200 dev + 50 test + 100 training)" in message
    assert "at least 1 training" in _message(train=ARITHMETIC, dev_count=200, test_count=100)


def test_too_few_test_problems_are_refused(tmp_path: Path) -> None:
    message = _message(train=ARITHMETIC, test=_file(tmp_path / "t.jsonl", ["T"]), dev_count=5, test_count=2)
    assert "The test source has 1 usable problems, but problems.test_count needs 2" in message


@pytest.mark.parametrize(("dev_count", "split"), [(1, "train"), (19, "dev")])
def test_a_problem_in_two_splits_stops_and_is_named(tmp_path: Path, dev_count: int, split: str) -> None:
    leaked = "Leaked " + "x" * 200
    questions = [leaked, *(f"Q{i}" for i in range(19))]
    # The seed puts the first question where the case needs it.
    train = _file(tmp_path / "a.jsonl", questions)
    test = _file(tmp_path / "b.jsonl", ["T", f" {leaked}\n"])
    for seed in range(50):
        with pytest.raises(UserError) as caught:
            _load(seed=seed, train=train, test=test, dev_count=dev_count)
        if f"in both {split} and test" in str(caught.value):
            break
    assert f'The problem "{leaked[:80]}" is in both {split} and test: remove it' in str(caught.value)


def test_drop_train_takes_the_overlap_out_and_lists_it(tmp_path: Path) -> None:
    train = _file(tmp_path / "a.jsonl", (f"Q{i}" for i in range(20)))
    test = _file(tmp_path / "b.jsonl", ["T", "Q7"])
    problems, rejected = _load(train=train, test=test, dev_count=4, on_overlap="drop_train")
    assert _sizes(problems) == {"train": 15, "dev": 4, "test": 2}
    assert rejected == [RejectedRow("a", 8, "in_test", "Q7")]


def test_rejected_rows_of_both_sources_are_returned(tmp_path: Path) -> None:
    train = _file(tmp_path / "a.jsonl", ["A", "B", "C", "A"])
    test = _file(tmp_path / "b.jsonl", ["T", ""])
    _, rejected = _load(train=train, test=test, dev_count=1)
    assert [(row.source, row.row_number, row.reason) for row in rejected] == [
        ("a", 4, "duplicate"),
        ("b", 2, "empty_question"),
    ]


@needs_data
@pytest.mark.parametrize(
    ("recipe_name", "sizes", "reasons"),
    [
        ("gsm8k-mistral-7b", {"train": 6973, "dev": 500, "test": 1319}, []),
        (
            "math-mistral-7b",
            {"train": 6996, "dev": 500, "test": 5000},
            ["duplicate", "no_answer", "no_answer", "in_test"],
        ),
        ("gsm8k-smollm2-135m", {"train": 1500, "dev": 200, "test": 300}, []),
        ("gsm8k-qwen2.5-0.5b", {"train": 100, "dev": 100, "test": 100}, []),
    ],
)
def test_ready_recipes_find_their_real_problems(
    recipe_name: str, sizes: dict[str, int], reasons: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFEXPLORE_DATA", str(DATA))
    recipe = load_recipe(recipe_name)
    problems, rejected = load_problems(recipe.problems, seed=recipe.seed, answer_phrase=recipe.prompt.answer_phrase)
    assert _sizes(problems) == sizes
    assert [row.reason for row in rejected] == reasons
    assert len({problem.problem_id for problem in problems}) == len(problems)
    wanted = sizes["train"] if recipe.problems.rationale_count is None else recipe.problems.rationale_count
    assert sum(problem.gold_rationale is not None for problem in problems) == wanted


@needs_data
def test_real_math_stops_on_its_published_overlap_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFEXPLORE_DATA", str(DATA))
    math = {"train": {"kind": "math"}, "test": {"kind": "math", "split": "test"}}
    assert 'The problem "The points $(0,0)\\,$, $(a,11)\\,$' in _message(**math)
