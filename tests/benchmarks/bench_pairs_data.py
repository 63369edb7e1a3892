"""Seeded rationales at paper scale: gold solutions, reworded (right) and corrupted (wrong), 100 to a problem.

Each problem has its own share of right ones. Some texts are exact duplicates, many are rewordings with the same chain
of equations, some of the right ones have a false equation, and a few end without an answer. The same arguments always
give the same store: an experiment that has come as far as stage `sample` of round 1, and whose other stages before
`outcome_pairs` are marked as done. A problem's rationales depend on the seed and the problem alone.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from selfexplore_tasks.problems.arithmetic import generate
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.store.experiments import load_experiment, open_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, write_manifest
from selfexplore_tasks.store.parts import write_part
from selfexplore_tasks.store.removal import stage_parts, table_dirs
from selfexplore_tasks.store.schemas import TABLES

SLUG, MODEL = "pairs", "0/sft"
TIMED = ("rft_set", "outcome_pairs")
RECIPE = """
name: pairs
description: Pair building at scale.
problems: {train: {kind: arithmetic, count: 30}, dev_count: 5, test_count: 5, rationale_count: 10}
model: {scratch: {context_length: 1024}}
sft: {}
engine: {kind: transformers}
evaluate: {max_new_tokens: 16}
"""
PROBLEMS_IN_A_PART = 250
GSM8K_PROBLEMS = 7_473
PHRASE = "The answer is"
RATIONALES = 100
_DUPLICATES, _ANSWERLESS, _FALSE_EQUATION = 0.12, 0.02, 0.03
_EQUATION = re.compile(r"(?P<left>\d+(?:\.\d+)?)(?P<sign> ?[+*] ?)(?P<right>\d+(?:\.\d+)?)(?P<equals> ?= ?)")
_NUMBER = re.compile(r"\d+")
_OPENERS = ("", "", "So ", "Then ", "First of all, ", "We know that ", "Now ", "That means ", "Next, we see that ")
_ENDINGS = ("", "", "", " in total", " altogether", ", as the problem says", ", which we need for the next step")
_SYNONYMS = {
    "has": ("has got", "owns", "is left with", "ends up with"),
    "gives": ("hands over", "gave", "passes on"),
    "total": ("total number", "sum", "whole amount"),
    "costs": ("comes to", "is priced at", "cost"),
    "each": ("every one", "per piece", "apiece"),
    "now": ("at this point", "by now", "in the end"),
    "more": ("additional", "extra", "further"),
    "per": ("for every", "in each", "a"),
    "were": ("have been", "used to be", "are"),
    "needs": ("requires", "has to have", "must get"),
    "spent": ("paid", "laid out", "used up"),
    "sold": ("got rid of", "has sold", "was able to sell"),
    "the": ("this", "that", "the"),
    "is": ("equals", "comes out as", "makes"),
    "for": ("over", "during", "on"),
    "because": ("since", "as", "given that"),
}
_WORD = re.compile("|".join(rf"\b{word}\b" for word in _SYNONYMS))


@dataclass(frozen=True)
class Solution:
    """A problem with its gold solution, a step a line and no answer line."""

    problem_id: str
    question: str
    gold_answer: str
    lines: tuple[str, ...]

    @property
    def gold_rationale(self) -> str:
        return "\n".join([*self.lines, f"{PHRASE} {self.gold_answer}"])


@dataclass(frozen=True)
class Drawn:
    """One rationale as a model might have written it."""

    text: str
    answer: str | None
    verdict: str


def read_solutions(source: str, count: int, *, data: Path, seed: int) -> Iterator[Solution]:
    """Yield ``count`` problems; of ``gsm8k`` (7,473 of them) again and again under other ids where that is too few."""
    known = _read_gsm8k(data) if source == "gsm8k" else _generate(count, seed)
    for number in range(count):
        copy, place = divmod(number, len(known))
        found = known[place]
        suffix = f"-{copy}" if copy else ""
        yield Solution(f"{found.problem_id}{suffix}", found.question, found.gold_answer, found.lines)


def _read_gsm8k(data: Path) -> list[Solution]:
    solutions = []
    for number, line in enumerate((data / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        *steps, last = row["answer"].split("\n")
        gold = last.removeprefix("#### ").replace(",", "")
        solutions.append(Solution(f"gsm8k-{number:05d}", row["question"], gold, tuple(steps)))
    return solutions


def _generate(count: int, seed: int) -> list[Solution]:
    return [
        Solution(one.problem_id, one.question, one.gold_answer, tuple(one.gold_rationale.split("\n")[:-1]))
        for one in generate(count, seed=seed)
    ]


def draw(solution: Solution, count: int, seed: int) -> list[Drawn]:
    """Draw ``count`` rationales of a problem, right ones with a chance that differs from problem to problem."""
    source = random.Random(f"{seed}/{solution.problem_id}")
    kinds = [_reworded(source, line) for line in solution.lines]
    right_share = source.betavariate(0.9, 0.9)
    drawn: list[Drawn] = []
    for _ in range(count):
        if drawn and source.random() < _DUPLICATES:
            drawn.append(source.choice(drawn))
            continue
        lines = [source.choice(kind) for kind in kinds]
        if source.random() < 0.15 and len(lines) > 1:
            place = source.randrange(len(lines) - 1)
            lines[place : place + 2] = [f"{lines[place]} {lines[place + 1]}"]
        drawn.append(_finished(source, solution, lines, is_right=source.random() < right_share))
    return drawn


def _reworded(source: random.Random, line: str) -> list[str]:
    """Ways to say one step: other words, an opener, an ending, operands the other way round."""
    kinds = []
    for _ in range(source.randint(6, 14)):
        rate = source.random()
        said = _WORD.sub(
            lambda found, rate=rate: source.choice(_SYNONYMS[found[0]]) if source.random() < rate else found[0], line
        )
        if source.random() < 0.4:
            said = _EQUATION.sub(r"\g<right>\g<sign>\g<left>\g<equals>", said)
        opener, ending = source.choice(_OPENERS), source.choice(_ENDINGS)
        kinds.append(f"{opener}{said[:1].lower() if opener else said[:1]}{said[1:].removesuffix('.')}{ending}.")
    return kinds


def _finished(source: random.Random, solution: Solution, lines: list[str], *, is_right: bool) -> Drawn:
    if source.random() < _ANSWERLESS:
        return Drawn("\n".join(lines), None, "no_answer")
    answer = solution.gold_answer
    if not is_right:
        answer = str(round(float(answer)) + source.choice((-20, -10, -5, -2, -1, 1, 2, 3, 5, 10, 12, 100)))
        lines = lines[: source.randint(max(1, len(lines) - 1), len(lines))]
    if not is_right or source.random() < _FALSE_EQUATION:
        place = source.randrange(len(lines))
        lines[place] = _NUMBER.sub(lambda found: str(int(found[0]) + source.choice((0, 0, 1, 2, 7, 10))), lines[place])
    return Drawn("\n".join([*lines, f"{PHRASE} {answer}"]), answer, "correct" if is_right else "wrong")


def open_store(root: Path, source: str, count: int, *, data: Path, seed: int, rationales: int = RATIONALES) -> Store:
    """Make the store of ``count`` problems in a folder, or take the one that is there."""
    store = Store(root)
    if not store.manifest_file(SLUG, 1, "sample").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        (root / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        open_experiment(store, SLUG, str(root / "recipe.yaml"))
        store.model_dir(SLUG, MODEL).mkdir(parents=True)
        _fill(store, list(read_solutions(source, count, data=data, seed=seed)), seed, rationales)
    return store


def forget_timed(store: Store) -> None:
    """Remove what the stages that are timed have made."""
    for stage in TIMED:
        store.manifest_file(SLUG, 1, stage).unlink(missing_ok=True)
        for folder in table_dirs(store, SLUG, 1):
            for path in stage_parts(folder, stage):
                path.unlink()


def _fill(store: Store, solutions: Sequence[Solution], seed: int, rationales: int) -> None:
    places = range(0, len(solutions), PROBLEMS_IN_A_PART)
    groups = [solutions[begin : begin + PROBLEMS_IN_A_PART] for begin in places]
    problems = _table(
        "problems",
        problem_id=[one.problem_id for one in solutions],
        source="bench",
        split="train",
        question=[one.question for one in solutions],
        gold_answer=[one.gold_answer for one in solutions],
        gold_rationale=[one.gold_rationale for one in solutions],
    )
    _write(store, 0, "prepare", "problems", 0, problems)
    with ProcessPoolExecutor() as processes:
        work = partial(_write_part, store, seed, rationales)
        names = list(processes.map(work, range(len(groups)), groups))
    done = [(0, stage) for stage in stages_of(0)]
    done += [(1, stage) for stage in stages_of(1)[: stages_of(1).index("outcome_pairs")] if stage not in TIMED]
    now = "2026-01-01T00:00:00+00:00"
    parts = {"prepare": {"problems": ["part-prepare-00000.parquet"]}, "sample": {"rationales": names}}
    for round_number, stage in sorted(done, key=lambda one: one == (1, "sample")):
        notes = {"model_id": "1/rft" if stage == "rft" else MODEL}
        made = Manifest(SLUG, round_number, stage, "h", 0, now, now, 1.0, 0, {}, parts.get(stage, {}), notes)
        write_manifest(store, made)


def _write_part(store: Store, seed: int, rationales: int, chunk: int, solutions: Sequence[Solution]) -> str:
    drawn = [(one, index, text) for one in solutions for index, text in enumerate(draw(one, rationales, seed))]
    rows = _table(
        "rationales",
        rationale_id=[f"{one.problem_id}#{index}" for one, index, _ in drawn],
        problem_id=[one.problem_id for one, _, _ in drawn],
        model_id=MODEL,
        sample_index=[index for _, index, _ in drawn],
        text=[found.text for _, _, found in drawn],
        answer=[found.answer for _, _, found in drawn],
        verdict=[found.verdict for _, _, found in drawn],
        is_correct_strict=[found.verdict == "correct" for _, _, found in drawn],
        is_correct_flexible=[found.verdict == "correct" for _, _, found in drawn],
        finish_reason="stop",
        token_count=[len(found.text) // 4 for _, _, found in drawn],
    )
    return _write(store, 1, "sample", "rationales", chunk, rows)


def _table(table: str, **columns: object) -> pa.Table:
    """A table's rows; one value stands for a whole column, and a column that is not named is null."""
    count = max(len(column) for column in columns.values() if isinstance(column, list))
    filled = {name: columns.get(name) for name in TABLES[table].names}
    return pa.table(
        {name: column if isinstance(column, list) else [column] * count for name, column in filled.items()},
        schema=TABLES[table],
    )


def _write(store: Store, round_number: int, stage: str, table: str, chunk: int, rows: pa.Table) -> str:
    path = StageContext(store, load_experiment(store, SLUG), round_number, stage).part_path(table, chunk)
    write_part(path, rows, recipe_hash="h", seconds=0.0)
    return path.name
