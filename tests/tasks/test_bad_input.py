"""Bad input: exit code 2, one line on stderr that says what is wrong, and nothing written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfexplore_tasks.cli import main

RECIPE = """
name: bad
description: A recipe over a problem file.
problems: {{train: {{kind: file, path: {problems}}}, dev_count: 1, test_count: 1}}
model: {{path: {model}}}
sft: null
sample: {{n: 2, max_new_tokens: 20}}
explore: {{k: 2, max_new_tokens: 20}}
evaluate: {{max_new_tokens: 20}}
engine: {{kind: transformers, threads: 1}}
"""
ROWS = [{"question": f"What is 1 + {number}?", "answer": str(1 + number)} for number in range(6)]


@dataclass
class Situation:
    """A good recipe, problem file, model and empty home in ``folder``; a case spoils one thing."""

    folder: Path
    experiment: str = "mine"
    recipe: str = ""
    stage: str = "prepare"
    extra: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def problems(self) -> Path:
        return self.folder / "problems.jsonl"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def set(self, *settings: str) -> None:
        for setting in settings:
            self.extra += ["--set", setting]

    def arguments(self) -> list[str]:
        named = ["--experiment", self.experiment, "--round", "0", "--recipe", self.recipe]
        return ["stage", self.stage, *named, *self.extra]

    def use_parquet(self, write: Callable[[Path], object]) -> None:
        path = self.folder / "problems.parquet"
        write(path)
        self.set(f"problems.train.path={path}")


@pytest.fixture
def situation(tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Situation:
    made = Situation(tmp_path)
    made.problems.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS), encoding="utf-8")
    shutil.copytree(tiny_model_dir, made.model)
    recipe = tmp_path / "bad.yaml"
    recipe.write_text(RECIPE.format(problems=made.problems, model=made.model), encoding="utf-8")
    made.recipe = str(recipe)
    monkeypatch.setenv("SELFEXPLORE_HOME", str(made.home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return made


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with size and time of change."""
    found = {str(path): path.stat() for path in folder.rglob("*")}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def in_file_home(situation: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store below a regular file: not even root can write there."""
    blocker = situation.folder / "file"
    blocker.write_text("", encoding="utf-8")
    monkeypatch.setenv("SELFEXPLORE_HOME", str(blocker / "home"))


def corrupt_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    path.write_bytes(path.read_bytes()[:-30])


def delete(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def add_line(path: Path, line: bytes) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], line + b"\n", *lines[2:]]))


Spoil = Callable[[Situation], object]
CASES: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "unknown recipe": (lambda s: setattr(s, "recipe", "arithmetic-tinny"), ("arithmetic-tinny", "arithmetic-tiny")),
    "missing recipe file": (lambda s: setattr(s, "recipe", "no/such.yaml"), ("no/such.yaml", "does not exist")),
    "unknown key": (lambda s: s.set("sample.temprature=1"), ("sample.temprature", "temperature")),
    "unknown section": (lambda s: s.set("smaple.n=1"), ("smaple", "sample")),
    "value out of range": (lambda s: s.set("sample.n=0"), ("sample.n", "1")),
    "value of another type": (lambda s: s.set("sample.n=many"), ("sample.n", "many")),
    "two fields that disagree": (
        lambda s: s.set("sample.problems=answers_only"),
        ("sample.problems", "rationale_count"),
    ),
    "missing column": (lambda s: s.set("problems.train.columns.question=task"), ("task", "question", "answer")),
    "missing problem file": (lambda s: s.problems.unlink(), ("problems.jsonl",)),
    "empty file": (lambda s: s.problems.write_bytes(b""), ("problems.jsonl",)),
    "broken jsonl line": (lambda s: add_line(s.problems, b'{"question": "cut'), ("problems.jsonl", "Line 3 of")),
    "line that is no object": (lambda s: add_line(s.problems, b"[1]"), ("problems.jsonl", "Line 3 of")),
    "line that is no text": (lambda s: add_line(s.problems, b'{"question": "\xff"}'), ("problems.jsonl", "Line 3 of")),
    "too few problems": (lambda s: s.set("problems.dev_count=50"), ("dev_count",)),
    "corrupt parquet": (lambda s: s.use_parquet(corrupt_parquet), ("problems.parquet",)),
    "empty parquet": (lambda s: s.use_parquet(lambda path: path.write_bytes(b"")), ("problems.parquet",)),
    "missing model": (lambda s: s.set(f"model.path={s.folder / 'nowhere'}"), ("nowhere",)),
    "missing weights": (lambda s: delete(s.model, "*.safetensors"), ("weights", "model")),
    "model without a tokenizer": (lambda s: delete(s.model, "tokenizer*", "special*"), ("tokenizer", "model")),
    "package without weights": (lambda s: s.set("model={gguf_package: no_such_package}"), ("no_such_package",)),
    "nothing to fine-tune on": (lambda s: s.set("sft={}"), ("gold rationales", "sft: null")),
    "slash in the name": (lambda s: setattr(s, "experiment", "a/b"), ("'a/b'", "name")),
    "name that leaves the store": (lambda s: setattr(s, "experiment", "../x"), ("'../x'", "name")),
    "dots as name": (lambda s: setattr(s, "experiment", ".."), ("'..'", "name")),
    "dots inside of the name": (lambda s: setattr(s, "experiment", "a..b"), ("'a..b'", "name")),
    "empty name": (lambda s: setattr(s, "experiment", ""), ("''", "name")),
    "line break in the name": (lambda s: setattr(s, "experiment", "a\n"), ("name",)),
    "endless name": (lambda s: setattr(s, "experiment", "a" * 65), ("name",)),
    "shard beyond the count": (lambda s: s.extra.extend(["--shard", "3/2"]), ("--shard", "3/2")),
    "shard that is no fraction": (lambda s: s.extra.extend(["--shard", "one"]), ("--shard", "one")),
    "shards of a stage that has none": (lambda s: s.extra.extend(["--shard", "1/2"]), ("prepare", "not sharded")),
    "negative round": (lambda s: s.extra.extend(["--round", "-1"]), ("--round", "-1")),
    "stage of another round": (lambda s: s.extra.extend(["--round", "1"]), ("prepare", "Round 1")),
    "round that cannot start": (
        lambda s: (setattr(s, "stage", "sample"), s.extra.extend(["--round", "1"]))[1],
        ("sample", "summarize of round 0"),
    ),
    "setting without a value": (lambda s: s.set("sample.n"), ("--set", "KEY=VALUE")),
    "setting that is no YAML": (lambda s: s.set("sample.n=[1"), ("--set", "sample.n")),
}


def assert_one_error_line(stderr: str, *parts: str) -> None:
    assert stderr.startswith("error: "), stderr
    assert stderr.count("\n") == 1, stderr
    for part in parts:
        assert part in stderr


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_writes_nothing(
    name: str, situation: Situation, capfd: pytest.CaptureFixture[str]
) -> None:
    spoil, parts = CASES[name]
    spoil(situation)
    before = listing(situation.folder)
    assert main(situation.arguments()) == 2
    assert_one_error_line(capfd.readouterr().err, *parts)
    assert listing(situation.folder) == before
    assert not situation.home.exists()


def test_the_unspoilt_situation_works(situation: Situation) -> None:
    assert main(situation.arguments()) == 0
    assert (situation.home / "manifests" / "mine" / "round=000" / "prepare.json").exists()


@pytest.mark.parametrize(
    "name", ["unknown recipe", "broken jsonl line", "missing weights", "model without a tokenizer"]
)
def test_as_a_process_of_its_own(name: str, situation: Situation) -> None:
    """The same, with whatever the libraries print when they are imported."""
    spoil, parts = CASES[name]
    spoil(situation)
    before = listing(situation.folder)
    command = [sys.executable, "-m", "selfexplore_tasks", *situation.arguments()]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 2, done.stderr
    assert_one_error_line(done.stderr, *parts)
    assert listing(situation.folder) == before


def test_unwritable_store(
    situation: Situation, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    in_file_home(situation, monkeypatch)
    before = listing(situation.folder)
    assert main(situation.arguments()) == 2
    assert_one_error_line(capfd.readouterr().err, "cannot be written", "SELFEXPLORE_HOME")
    assert listing(situation.folder) == before


def test_a_store_that_is_a_file(
    situation: Situation, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(situation.problems))
    assert main(situation.arguments()) == 2
    assert_one_error_line(capfd.readouterr().err, "cannot be written", "SELFEXPLORE_HOME")


@pytest.mark.parametrize("command", ["scores", "rounds", "sql"])
def test_an_experiment_that_does_not_exist(
    command: str, situation: Situation, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [command, *(["select 1"] if command == "sql" else []), "--experiment", "nowhere"]
    assert main(arguments) == 2
    assert_one_error_line(capfd.readouterr().err, "nowhere", "does not exist")
    assert main([*arguments[:-1], "../nowhere"]) == 2
    assert_one_error_line(capfd.readouterr().err, "cannot name an experiment")
    assert main(["experiments", "delete", "..", "--yes"]) == 2
    assert not situation.home.exists()


def test_a_stage_without_its_experiment(situation: Situation, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["stage", "sft", "--experiment", "mine", "--round", "0"]) == 2
    assert_one_error_line(capfd.readouterr().err, "'mine' does not exist yet", "recipe")
    assert not situation.home.exists()


def test_a_stage_before_its_time(situation: Situation, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(situation.arguments()) == 0
    before = listing(situation.home)
    capfd.readouterr()
    assert main(["stage", "sample", "--experiment", "mine", "--round", "1"]) == 2
    assert_one_error_line(capfd.readouterr().err, "summarize of round 0")
    assert listing(situation.home) == before


def test_another_recipe_under_the_same_name(situation: Situation, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(situation.arguments()) == 0
    before = listing(situation.home)
    capfd.readouterr()
    situation.set("sample.n=3")
    assert main(situation.arguments()) == 2
    assert_one_error_line(capfd.readouterr().err, "'mine'", "sample.n")
    assert listing(situation.home) == before


HOLDER = """
import sys
from pathlib import Path
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import stage_lock
with stage_lock(Store(Path(sys.argv[1])), "mine", round_number=0, stage=sys.argv[2], shard=0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("held", ["sft", "evaluate"])
def test_second_run_of_a_live_experiment(held: str, situation: Situation, capfd: pytest.CaptureFixture[str]) -> None:
    """Another process runs a stage of the experiment: the same stage, or a later one."""
    assert main(situation.arguments()) == 0
    command = [sys.executable, "-c", HOLDER, str(situation.home), held]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = listing(situation.home / "tables") | listing(situation.home / "manifests")
        locks = sorted(listing(situation.home / "locks"))
        capfd.readouterr()
        assert main(["stage", "sft", "--experiment", "mine", "--round", "0"]) == 2
        assert_one_error_line(capfd.readouterr().err, "'mine' is live", f"000-{held}-0")
        assert listing(situation.home / "tables") | listing(situation.home / "manifests") == before
        assert sorted(listing(situation.home / "locks")) == locks
    finally:
        holder.communicate("")
    assert main(["stage", "sft", "--experiment", "mine", "--round", "0"]) == 0, "the lock ends with its holder"
