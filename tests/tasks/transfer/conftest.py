"""A small experiment over hand-made problems, a model nobody runs, and texts as another program would draw them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.cli import main
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.catalogue import connect
from selfexplore_tasks.store.home import Store

EXPERIMENT = "brought"
RECIPE = """
name: brought
description: Everything is drawn elsewhere.
problems: {{train: {{kind: file, path: {problems}}}, dev_count: 2, test_count: 2}}
model: {{path: {model}}}
sft: null
sample: {{n: 2, max_new_tokens: 20}}
rft: {{first_round: skip}}
explore: {{k: 2, max_new_tokens: 20}}
evaluate: {{max_new_tokens: 20}}
engine: {{kind: transformers, threads: 1}}
"""
NUMBERS = range(2, 14)
Row = dict[str, Any]


@dataclass
class Bench:
    """A store, a recipe, and the command line over both."""

    folder: Path
    recipe: Path
    capture: pytest.CaptureFixture[str] | None = None

    @staticmethod
    def question(number: int) -> str:
        return f"Eva has {number} shells, finds 4 and gives 1 away. How many has she?"

    @staticmethod
    def right(number: int) -> str:
        return f"{number} + 4 = {number + 4}\n{number + 4} - 1 = {number + 3}\nThe answer is {number + 3}"

    @staticmethod
    def wrong(number: int) -> str:
        """Right in its first step, wrong in its second."""
        return f"{number} + 4 = {number + 4}\n{number + 4} - 1 = {number + 2}\nThe answer is {number + 2}"

    def sampled(self, numbers: Iterable[int] = NUMBERS) -> list[Row]:
        """One row per problem, with a right and a wrong rationale."""
        return [
            {
                "question": self.question(number),
                "gold": str(number + 3),
                "texts": [self.right(number), self.wrong(number)],
            }
            for number in numbers
        ]

    def explored(self, numbers: Iterable[int]) -> list[Row]:
        """Rollouts whose first pit is step 2: of three after step 1 one is right."""
        rows: list[Row] = []
        for number in numbers:
            given = {"question": self.question(number), "rationale": self.wrong(number)}
            good = f"{number + 4} - 1 = {number + 3}\nThe answer is {number + 3}"
            rows.append({**given, "step": 1, "texts": ["The answer is 99", good, "no idea"]})
            rows.append({**given, "step": 2, "texts": ["The answer is 98", ""]})
        return rows

    @property
    def store(self) -> Store:
        return Store(self.folder / "home")

    def run(self, *arguments: object, code: int = 0) -> str:
        """Run a command; returns stdout, or stderr where it should fail."""
        found = main([str(argument) for argument in arguments])
        out, err = self.capture.readouterr() if self.capture else ("", "")
        assert found == code, out + err
        return out if code == 0 else err

    def write(self, rows: Iterable[Row], name: str = "made.jsonl") -> Path:
        path = self.folder / name
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        return path

    def import_rationales(self, rows: Iterable[Row] | Path, *more: object, code: int = 0) -> str:
        file = rows if isinstance(rows, Path) else self.write(rows)
        place = ("--experiment", EXPERIMENT, "--recipe", self.recipe)
        return self.run("import", "rationales", file, *place, *more, code=code)

    def import_rollouts(self, rows: Iterable[Row] | Path, *more: object, code: int = 0) -> str:
        file = rows if isinstance(rows, Path) else self.write(rows, "rollouts.jsonl")
        return self.run("import", "rollouts", file, "--experiment", EXPERIMENT, *more, code=code)

    def stages(self, *names: str) -> None:
        for name in names:
            run_stage(self.store, EXPERIMENT, name, round_number=1)

    def rows(self, sql: str) -> list[Row]:
        connection = connect(self.store, [EXPERIMENT])
        try:
            rows: list[Row] = connection.sql(sql).to_arrow_table().to_pylist()
            return rows
        finally:
            connection.close()

    def train_numbers(self) -> list[int]:
        """Numbers of the training problems, after `prepare`."""
        found = self.rows("select question from problems where split = 'train' order by problem_id")
        return [int(row["question"].split()[2]) for row in found]

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}


@pytest.fixture(scope="session")
def transfer_recipe(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("transfer_recipe")
    problems = folder / "problems.jsonl"
    rows = [{"question": Bench.question(number), "answer": str(number + 3)} for number in NUMBERS]
    problems.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    recipe = folder / "brought.yaml"
    recipe.write_text(RECIPE.format(problems=problems, model=tiny_model_dir), encoding="utf-8")
    return recipe


@pytest.fixture(scope="session")
def paired_home(tmp_path_factory: pytest.TempPathFactory, transfer_recipe: Path) -> Path:
    """A store where rationales were imported and outcome pairs made."""
    made = Bench(tmp_path_factory.mktemp("paired"), transfer_recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFEXPLORE_HOME", str(made.store.root))
        made.import_rationales(made.sampled())
        made.stages("rft_set", "rft", "sample_explorer", "outcome_pairs")
    return made.store.root


@pytest.fixture(scope="session")
def finished_home(tmp_path_factory: pytest.TempPathFactory, transfer_recipe: Path, paired_home: Path) -> Path:
    """The same with rollouts imported and granular pairs made; no model was ever run."""
    made = Bench(tmp_path_factory.mktemp("finished"), transfer_recipe)
    shutil.copytree(paired_home, made.store.root, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFEXPLORE_HOME", str(made.store.root))
        made.import_rollouts(made.explored(made.train_numbers()))
        made.stages("granular_pairs")
    return made.store.root


@pytest.fixture
def bench(
    tmp_path: Path, transfer_recipe: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Bench:
    """An empty store."""
    made = Bench(tmp_path, transfer_recipe, capfd)
    monkeypatch.setenv("SELFEXPLORE_HOME", str(made.store.root))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return made


@pytest.fixture
def paired(bench: Bench, paired_home: Path) -> Bench:
    """A copy of ``paired_home``."""
    shutil.copytree(paired_home, bench.store.root, symlinks=True)
    return bench


@pytest.fixture
def finished(bench: Bench, finished_home: Path) -> Bench:
    """A copy of ``finished_home``."""
    shutil.copytree(finished_home, bench.store.root, symlinks=True)
    return bench
