"""One test per row of the method's last table, "What the published code gets wrong": none of it may be wrong here.

The tests go from rollouts to pairs through the stages themselves: rollouts are drawn by `Explorer` from a scripted
engine, put in the place of a finished round's, and `granular_pairs` is run on them.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import selfexplore_tasks
from scripted_engine import ScriptedEngine
from selfexplore_tasks.drawing import Job
from selfexplore_tasks.engines.select import LazyEngine
from selfexplore_tasks.equations import equation_chain, equations_hold
from selfexplore_tasks.exploration import Exploration, Explorer, WrongRationale
from selfexplore_tasks.grading import Grader, GradeRequest
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.recipe import Explore, Prompt, Rft
from selfexplore_tasks.stages.chunks import Rows, draw_chunks
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.explore import rollout_rows
from selfexplore_tasks.stages.generation import open_grader
from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.stages.rft_set import select_correct
from selfexplore_tasks.steps import explorable_steps, split_steps
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import read_manifest
from selfexplore_tasks.store.parts import to_table, write_part
from selfexplore_tasks.store.schemas import TABLES

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
STEPS = ("18 + 8 = 26\n", "26 - 4 = 23\n", "23 + 1 = 24\n")
MISS = "The answer is 9"
RowsOf = Callable[[Store, str], list[dict[str, Any]]]
Row = dict[str, Any]


@dataclass(frozen=True)
class Round:
    """A round before `granular_pairs`, with one explored rationale whose rollouts a test scripts."""

    store: Store
    rows_of: RowsOf
    model_dir: Path

    def explore(
        self, script: Sequence[Sequence[str]], *, gold: str = "23", steps: tuple[str, ...] = STEPS, k: int = 2
    ) -> Exploration:
        """Explore the first outcome pair's wrong rationale as if it had these steps, and store its rollouts alone."""
        given = self.rows_of(self.store, "select * from int_exploration_inputs order by rationale_id limit 1")[0]
        wrong = WrongRationale(given["rationale_id"], given["problem_id"], "How many?", gold, steps)
        with Grader(answer_phrase="The answer is") as grader:
            prompts = PromptFormat(Prompt(), self.model_dir)
            explorer = Explorer(ScriptedEngine(script), prompts, grader, Explore(k=k), stop=(), seed=0)
            (found,) = explorer.explore([wrong], lambda _: None)
        self._store_rollouts(rollout_rows(found, "1/rft"))
        return found

    def _store_rollouts(self, rows: list[Row]) -> None:
        manifest = read_manifest(self.store, "mini", 1, "explore")
        assert manifest is not None
        folder = self.store.table_dir("rollouts", "mini", 1)
        for number, name in enumerate(manifest.parts["rollouts"]):
            content = to_table("rollouts", [] if number else rows)
            write_part(folder / name, content, recipe_hash=manifest.recipe_hash, seconds=0.0)

    def pairs(self) -> tuple[Row, Row]:
        """Run `granular_pairs`; the explored rationale's rows of `first_pits` and `pairs`."""
        assert run_stage(self.store, "mini", "granular_pairs", round_number=1) is not None
        wanted = "(select min(rationale_id) from int_exploration_inputs)"
        (pit,) = self.rows_of(self.store, f"select * from first_pits where rationale_id = {wanted}")
        (pair,) = self.rows_of(
            self.store, f"select * from pairs where kind = 'granular' and rejected_rationale_id = {wanted}"
        )
        return pit, pair


@pytest.fixture
def round_(store_before: Callable[[str], Store], rows_of: RowsOf, tiny_model_dir: Path) -> Round:
    return Round(store_before("granular_pairs"), rows_of, tiny_model_dir)


def right(text: str, answer: str = "23") -> str:
    return f"{text}\nThe answer is {answer}"


@pytest.mark.parametrize(("gold", "answer"), [("1,080", "1080"), ("1080", "1,080"), ("1,080", "$1,080.00")])
def test_gold_compared_as_a_raw_string(gold: str, answer: str, round_: Round) -> None:
    """Row 1: "1,080" against "1080" is no false pit at step 1, in exploring as in pair building."""
    found = round_.explore([[MISS, right("a", answer)], [MISS, MISS]], gold=gold)
    pit, pair = round_.pairs()
    assert (found.first_pit_step, pit["first_pit_step"], pit["pass_counts"]) == (2, 2, [1, 0])
    assert (pair["rejected"], pair["chosen"]) == (STEPS[1], right("a", answer))


def test_gold_compared_as_a_raw_string_on_all_of_gsm8k() -> None:
    """Row 1: each gold of GSM8K equals itself, however its thousands are written."""
    path = DATA / "gsm8k" / "train.jsonl"
    if not path.is_file():
        pytest.skip("needs ../shared/data/gsm8k, which this checkout has not beside it")
    golds = [json.loads(line)["answer"].rpartition("####")[2].strip() for line in path.read_text("utf-8").splitlines()]
    with_comma = [gold for gold in golds if "," in gold]
    assert len(with_comma) == 79
    requests = [GradeRequest(f"The answer is {gold.replace(',', '')}", gold, "stop") for gold in golds]
    requests += [GradeRequest(f"The answer is {gold}", gold.replace(",", ""), "stop") for gold in with_comma]
    with Grader(answer_phrase="The answer is") as grader:
        assert all(grade.is_correct_strict for grade in grader.grade(requests))


@pytest.mark.parametrize("answer", [r"\frac12", r"\dfrac{1}{2}", "0.5", r"$\frac{2}{4}$"])
def test_two_notions_of_equality(answer: str, round_: Round) -> None:
    """Row 2: what exploring takes for right by its value, pair building does not take for wrong by its spelling."""
    found = round_.explore([[MISS, right("x", answer)], [MISS, MISS]], gold=r"\frac{1}{2}")
    pit, pair = round_.pairs()
    assert (found.first_pit_step, pit["first_pit_step"], pit["pass_counts"]) == (2, 2, [1, 0])
    assert (pair["is_kept"], pair["chosen"]) == (True, right("x", answer))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_the_number_of_rollouts_is_four(k: int, round_: Round) -> None:
    """Row 3: all k rollouts count when pairs are built, not the first four: here only the last is right."""
    found = round_.explore([[MISS] * (k - 1) + [right("late")], [MISS] * k], k=k)
    pit, pair = round_.pairs()
    assert (found.first_pit_step, pit["first_pit_step"]) == (2, 2)
    assert (pit["pass_counts"], pit["draw_counts"]) == ([1, 0], [k, k])
    assert (pair["is_kept"], pair["chosen"]) == (True, right("late"))


def test_another_temperature_means_one_sample(finished_store: Store, rows_of: RowsOf) -> None:
    """Row 4: at temperature 1.0 the recipe's 4 rationales a problem are drawn, and they differ; 2 rollouts a step."""
    recipe = load_experiment(finished_store, "mini").recipe
    assert (recipe.sample.temperature, recipe.explore.temperature) == (1.0, 1.0)
    drawn = rows_of(
        finished_store,
        "select count(*)::integer as n, count(distinct text) as texts from rationales group by model_id, problem_id",
    )
    assert {row["n"] for row in drawn} == {recipe.sample.n} == {4}
    assert max(row["texts"] for row in drawn) == 4
    steps = rows_of(finished_store, "select draw_count from int_explored_steps")
    assert {row["draw_count"] for row in steps} == {recipe.explore.k} == {2}


@pytest.mark.parametrize("step", ["26 - 4 = 23", "  26 - 4 = 23", "26 - 4 = 23\n"])
def test_chosen_begins_with_the_rejected_step(step: str, round_: Round) -> None:
    """Row 5: a correct rollout that repeats the rejected step is never chosen; another one is."""
    round_.explore([[right(step), right("26 - 4 = 22 and no other")], [MISS, MISS]])
    _, pair = round_.pairs()
    assert (pair["is_kept"], pair["chosen"]) == (True, right("26 - 4 = 22 and no other"))


def test_chosen_begins_with_the_rejected_step_and_nothing_else_is_there(round_: Round) -> None:
    """Row 5: where every correct rollout repeats the rejected step there is no pair."""
    round_.explore([[right("26 - 4 = 23"), right(" 26 - 4 = 23")], [MISS, MISS]])
    _, pair = round_.pairs()
    assert (pair["is_kept"], pair["drop_reason"]) == (False, "no_chosen")


@pytest.mark.parametrize(
    "text", ["The answer is 24", "#### 24", "\n\n**The answer is** 24\n", "18 + 8 = 26\nThe answer is 24"]
)
@pytest.mark.parametrize("style", ["lines", "sentences"])
def test_empty_rejected_text(text: str, style: Any) -> None:
    """Row 6: an answer line is never explored, so it can be no pit, and no rejected text is it, less itself."""
    steps = explorable_steps(text, style, answer_phrase="The answer is", max_steps=20)
    assert all(step.strip() and "answer" not in step and "####" not in step for step in steps)
    assert len(steps) == text.count("=")


def test_empty_rejected_text_has_no_pair(round_: Round) -> None:
    """Row 6: a rationale that is only its answer line has no pit; a step of white space would be no pair."""
    found = round_.explore([], steps=())
    pit, pair = round_.pairs()
    assert (found.first_pit_step, pit["first_pit_step"], pit["step_count"]) == (None, None, 0)
    assert (pair["is_kept"], pair["drop_reason"]) == (False, "no_pit")


def test_empty_rejected_text_is_refused(round_: Round) -> None:
    """Row 6: a blank step that is a pit all the same is dropped with its own reason, not trained on."""
    found = round_.explore([[right("a"), MISS], [MISS, MISS]], steps=(STEPS[0], " \n"))
    _, pair = round_.pairs()
    assert (found.first_pit_step, pair["is_kept"], pair["drop_reason"]) == (2, False, "empty_rejected")


EQUATIONS = [
    "$x = 1. Then y$",
    "$$a = b. So\nC = d.$$",
    "\\[a = b.\n\nSo C = d.\\]",
    "\\(a! B\\)",
    "\\begin{align*}\na &= b. \\\\[2pt]\nC &= d.\n\\end{align*}",
    "\\begin{cases} 1. & A \\\\ 2. & B \\end{cases}",
    '[asy]\nlabel("A. B");\n\ndraw(C);\n[/asy]',
]


@pytest.mark.parametrize("equation", EQUATIONS)
def test_math_splitter_cuts_inside_equations(equation: str) -> None:
    """Row 7: with sentence ends and blank lines inside, and text around it that is cut, each equation stays whole."""
    text = f"First we look at the sum. We have that {equation} holds here. Then we go on. It is done by now."
    steps = split_steps(text, "sentences")
    assert "".join(steps) == text
    assert len(steps) > 2
    assert sum(equation in step for step in steps) == 1


@pytest.mark.parametrize("shard_count", [1, 2, 3, 4, 7])
def test_resume_by_counting_lines_and_four_gpus(shard_count: int, finished_store: Store, tmp_path: Path) -> None:
    """Row 8: shards that are killed in their second chunk lose that one alone; the next try does what is left.

    Any number of shards does the same chunks, each once, and stores the same rows.
    """
    worked: list[str] = []
    lives = 1

    def work(name: str) -> Job[Rows]:
        nonlocal lives
        if name in "acegik":
            if lives == 0:
                raise RuntimeError("killed")
            lives -= 1
        worked.append(name)
        return [{**dict.fromkeys(TABLES["rollouts"].names), "rollout_id": name}]
        yield

    def run_shard(index: int) -> list[Path]:
        context = StageContext(Store(tmp_path), experiment, 1, "explore", index, shard_count)
        with open_grader(context) as grader:
            engine = LazyEngine("transformers", lambda: pytest.fail("nothing is drawn"))
            return draw_chunks(
                context,
                "rollouts",
                "abcdefghijk",
                work,
                engine=engine,
                grader=grader,
                chunk_size=2,
                unit="letters",
                label="",
            )

    experiment = load_experiment(finished_store, "mini")
    for index in range(shard_count):
        lives = 1
        with suppress(RuntimeError):
            run_shard(index)
    assert "".join(sorted(worked)) == "abcdefghijk"[: 2 * shard_count]
    lives = 6
    paths = run_shard(0)
    assert "".join(sorted(worked)) == "abcdefghijk"
    assert "".join(name for path in paths for name in pq.read_table(path)["rollout_id"].to_pylist()) == "abcdefghijk"


CANARY = "__import__('pathlib').Path({path!r}).touch()"


def test_eval_on_model_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 9: code in a mark, an equation, an answer or a gold answer stays text in everything that reads model text."""
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    code = CANARY.format(path=str(canary))
    texts = [f"<<{code}=1>>", f"1 + {code} = 1", f"{code} = {code}", f"${code}$. \\({code}\\)", f"The answer is {code}"]
    eval(code)
    assert canary.exists(), "the canary itself works"
    canary.unlink()
    for text in texts:
        equation_chain(text)
        equations_hold(text)
        split_steps(text, "lines")
        split_steps(text, "sentences")
        explorable_steps(text, "sentences", answer_phrase="The answer is", max_steps=20)
    select_correct(texts, Rft())
    requests = [GradeRequest(f"The answer is {answer}", gold, "stop") for answer in (code, "1") for gold in (code, "2")]
    requests += [GradeRequest(text, rf"\frac{{{code}}}{{2}}", "stop") for text in texts]
    with Grader(answer_phrase="The answer is") as grader:
        grader.grade(requests)
    assert not canary.exists()


def test_eval_is_nowhere_in_the_library() -> None:
    """Row 9: no module calls eval or exec, or compiles text to code."""
    root = Path(selfexplore_tasks.__file__).parent
    calls = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("eval", "exec", "compile")
    ]
    assert calls == []


def test_no_dev_split_no_seed_no_row_counts(finished_store: Store, rows_of: RowsOf) -> None:
    """Row 10: dev exists and nothing is trained on it; each stage's manifest says its seed and the rows it wrote."""
    splits = rows_of(finished_store, "select split, count(*)::integer as n from problems group by split")
    assert {row["split"]: row["n"] for row in splits} == {"train": 280, "dev": 30, "test": 30}
    for table in ("rationales", "rft_examples", "pairs"):
        used = rows_of(finished_store, f"select distinct split from {table} join problems using (problem_id)")
        assert used == [{"split": "train"}]
    for round_number in (0, 1):
        for stage in stages_of(round_number):
            manifest = read_manifest(finished_store, "mini", round_number, stage)
            assert manifest is not None, stage
            assert manifest.seed == 1, stage
            for table, names in manifest.parts.items():
                folder = finished_store.table_dir(table, "mini", round_number)
                stored = sum(pq.read_metadata(folder / name).num_rows for name in names)
                assert manifest.row_counts[table] == stored, (stage, table)
    (counted,) = rows_of(finished_store, "select map_keys(counts) as names from rounds where round = 1")
    assert {"rationales", "rollouts", "pits_found", "granular_pairs_kept", "outcome_pairs_kept"} <= set(
        counted["names"]
    )
