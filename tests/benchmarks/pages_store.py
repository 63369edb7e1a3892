"""A store as large rounds leave it, generated: real schemas, manifests and part sizes, invented texts and verdicts.

Every round samples ``samples`` rationales of each problem and explores up to ``explored`` wrong ones of it with ``k``
rollouts after every step. Stages up to `evaluate` are written by hand, chunked as the paper's recipes chunk them;
`gate` and `summarize` are the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pages_parts import NOW, table_of, write_stage
from selfexplore_tasks.recipe_files import load_recipe, recipe_hash
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.experiments import Experiment, load_experiment, save_experiment
from selfexplore_tasks.store.home import Store

SLUG = "large"
SENTENCES = 20_000
MAX_STEPS = 7
MODELS = ("rft", "policy")


@dataclass(frozen=True)
class Size:
    """How much to make."""

    rounds: int = 4
    problems: int = 7_473
    dev: int = 500
    test: int = 1_319
    samples: int = 34
    explored: int = 8
    k: int = 4


class LargeStore:
    """Writes the experiment ``large`` into a store."""

    def __init__(self, store: Store, size: Size, seed: int = 0) -> None:
        self.store, self.size = store, size
        self._random = np.random.default_rng(seed)
        overrides = {"max_rounds": size.rounds, "sample.n": size.samples, "explore.k": size.k}
        recipe = load_recipe("gsm8k-mistral-7b", overrides)
        save_experiment(store, Experiment(SLUG, recipe, recipe_hash(recipe), NOW))

    def write(self) -> dict[str, int]:
        """Make every round; returns the number of rows by table."""
        self._begin()
        totals = {"rationales": 0, "rollouts": 0, "parts": 0}
        for number in range(1, self.size.rounds + 1):
            for name, count in self._round(number).items():
                totals[name] += count
        return totals

    def _stage(self, number: int, stage: str, *given: Any, **more: Any) -> int:
        return write_stage(StageContext(self.store, load_experiment(self.store, SLUG), number, stage), *given, **more)

    @cached_property
    def _sentences(self) -> pa.Array:
        """Lines such as models write: names, numbers and an equation, no two the same."""
        names = np.array(["Eva", "Tom", "Nadia", "Li", "Omar", "Ada", "Ben", "Zoe"])
        things = np.array(["shells", "pens", "hens", "boxes", "coins", "miles", "pages", "cups"])
        pick = self._random.integers(0, 8, (2, SENTENCES))
        left, right = self._random.integers(2, 999, (2, SENTENCES))
        made = zip(names[pick[0]], left, right, things[pick[1]], strict=True)
        return pa.array(
            [f"{who} adds the {what}: {a} + {b} = <<{a}+{b}={a + b}>>{a + b} {what}.\n" for who, a, b, what in made]
        )

    @cached_property
    def _problem_ids(self) -> dict[str, pa.Array]:
        counts = {"train": self.size.problems, "dev": self.size.dev, "test": self.size.test}
        return {
            split: pa.array(sorted(f"gsm8k-{self._random.bytes(8).hex()}" for _ in range(count)))
            for split, count in counts.items()
        }

    def _begin(self) -> None:
        rows = []
        for split, ids in self._problem_ids.items():
            picked = self._random.integers(0, SENTENCES, (3, len(ids)))
            questions = pc.binary_join_element_wise(*(self._sentences.take(pa.array(row)) for row in picked), "")
            columns = {"problem_id": ids, "question": questions, "gold_rationale": questions}
            rows.append(table_of("problems", columns, source="gsm8k", split=split, gold_answer="42"))
        self._stage(0, "prepare", {"problems": pa.concat_tables(rows)}, notes={"base_model": str(self.store.root)})
        self._stage(0, "sft", notes={"model_id": "0/sft"})
        self._evaluate(0, ["0/sft"], 0.3)
        for stage in ("gate", "summarize"):
            self.store.model_dir(SLUG, "0/sft").mkdir(parents=True, exist_ok=True)
            run_stage(self.store, SLUG, stage, round_number=0)

    def _round(self, number: int) -> dict[str, int]:
        sampled, steps = self._rationales(number)
        parts = self._stage(
            number, "sample", {"rationales": sampled}, 64 * self.size.samples, model_id=f"{number - 1}/policy"
        )
        for stage, model in (("rft_set", ""), ("rft", "rft"), ("sample_explorer", "")):
            self._stage(number, stage, notes={"model_id": f"{number}/{model}"} if model else {})
        explored = self._explored(sampled)
        rollouts, pits = self._rollouts(number, sampled, steps, explored)
        rows_of = np.cumsum(np.concatenate([[0], pits["step_count"].to_numpy() * self.size.k]))
        self._stage(number, "outcome_pairs", {"pairs": self._pairs(number, "outcome", sampled, explored, pits)})
        parts += self._stage(number, "explore", {"rollouts": rollouts}, cuts=rows_of[::64], model_id=f"{number}/rft")
        granular = self._pairs(number, "granular", sampled, explored, pits)
        self._stage(number, "granular_pairs", {"first_pits": pits, "pairs": granular})
        log = [
            {
                "step": step,
                "loss": 0.7 - step / 200,
                "grad_norm": 2.0,
                "rewards/margins": step / 50,
                "rewards/accuracies": 0.6,
            }
            for step in range(1, 51)
        ]
        self._stage(number, "dpo", notes={"model_id": f"{number}/policy", "steps": 50, "log": log, "alarms": []})
        self._stage(number, "arms", notes={"models": []})
        self._evaluate(number, [f"{number}/{model}" for model in MODELS], 0.3 + 0.08 * number)
        for model in MODELS:
            self.store.model_dir(SLUG, f"{number}/{model}").mkdir(parents=True, exist_ok=True)
        for stage in ("gate", "summarize"):
            run_stage(self.store, SLUG, stage, round_number=number)
        return {"rationales": len(sampled), "rollouts": len(rollouts), "parts": parts}

    def _rationales(self, number: int) -> tuple[pa.Table, np.ndarray[Any, Any]]:
        """The round's rationales in order of problem and draw, and the sentences of each (rows x MAX_STEPS)."""
        problems = self._problem_ids["train"]
        count = len(problems) * self.size.samples
        owner = np.repeat(np.arange(len(problems)), self.size.samples)
        draw = np.tile(np.arange(self.size.samples), len(problems))
        steps = self._random.integers(0, SENTENCES, (count, MAX_STEPS))
        is_correct = self._random.random(count) < self._random.beta(2, 2, len(problems))[owner]
        ids = problems.take(pa.array(owner))
        model = f"{number - 1}/policy" if number > 1 else "0/sft"
        columns = {
            "rationale_id": pc.binary_join_element_wise(
                f"{model}/", ids, pa.array([f"/{n:03d}@{number}" for n in draw]), ""
            ),
            "problem_id": ids,
            "sample_index": pa.array(draw, pa.int32()),
            "text": pc.binary_join_element_wise(self._join(steps, MAX_STEPS), "The answer is 42", ""),
            "verdict": pa.array(np.where(is_correct, "correct", "wrong")),
            "is_correct_strict": pa.array(is_correct),
            "is_correct_flexible": pa.array(is_correct),
            "logprob_mean": pa.array(-self._random.random(count)),
            "seed": pa.array(np.arange(count)),
        }
        given = {
            "model_id": model,
            "answer": "42",
            "grade_reason": "equal_number",
            "finish_reason": "stop",
            "token_count": 120,
        }
        return table_of("rationales", columns, **given), steps

    def _join(self, steps: np.ndarray[Any, Any], upto: int) -> pa.Array:
        lines = [self._sentences.take(pa.array(steps[:, number])) for number in range(upto)]
        return pc.binary_join_element_wise(*lines, "") if len(lines) > 1 else lines[0]

    def _explored(self, sampled: pa.Table) -> np.ndarray[Any, Any]:
        """Row numbers of the first wrong rationales of every problem."""
        wrong = np.flatnonzero(~sampled["is_correct_strict"].to_numpy(zero_copy_only=False))
        problem = wrong // self.size.samples
        first = np.concatenate([[0], np.flatnonzero(np.diff(problem)) + 1])
        rank = np.arange(len(wrong)) - np.repeat(first, np.diff(np.concatenate([first, [len(wrong)]])))
        return wrong[rank < self.size.explored]

    def _rollouts(
        self, number: int, sampled: pa.Table, steps: np.ndarray[Any, Any], explored: np.ndarray[Any, Any]
    ) -> tuple[pa.Table, pa.Table]:
        k = self.size.k
        step_counts = self._random.integers(4, MAX_STEPS + 1, len(explored))
        pits = self._random.integers(1, MAX_STEPS + 2, len(explored))
        place = np.repeat(np.arange(len(explored)), step_counts * k)
        begin = np.repeat(np.cumsum(step_counts * k) - step_counts * k, step_counts * k)
        inner = np.arange(len(place)) - begin
        step, index = inner // k + 1, inner % k
        is_correct = (step < pits[place]) & ((index == 0) | (self._random.random(len(place)) < 0.5))
        rows = explored[place]
        prefixes = [self._join(steps[explored], upto) for upto in range(1, MAX_STEPS + 1)]
        # One column of all prefixes, of which each rollout takes its own.
        prefix = pa.concat_arrays(prefixes).take(pa.array((step - 1) * len(explored) + place))
        last = self._random.integers(0, SENTENCES, (3, len(place)))
        text = pc.binary_join_element_wise(
            *(self._sentences.take(pa.array(row)) for row in last), "The answer is 42", ""
        )
        rationale_ids, problem_ids = (
            sampled[name].combine_chunks().take(pa.array(rows)) for name in ("rationale_id", "problem_id")
        )
        suffix = pa.array([f"/s{a:02d}/{b:02d}" for a in range(1, MAX_STEPS + 1) for b in range(k)]).take(
            pa.array((step - 1) * k + index)
        )
        columns = {
            "rollout_id": pc.binary_join_element_wise(rationale_ids, suffix, ""),
            "rationale_id": rationale_ids,
            "problem_id": problem_ids,
            "step_index": pa.array(step, pa.int32()),
            "step_count": pa.array(step_counts[place], pa.int32()),
            "rollout_index": pa.array(index, pa.int32()),
            "prefix": prefix,
            "text": text,
            "is_correct": pa.array(is_correct),
            "is_correct_flexible": pa.array(is_correct),
        }
        given = {
            "model_id": f"{number}/rft",
            "answer": "42",
            "grade_reason": "equal_number",
            "finish_reason": "stop",
            "token_count": 60,
        }
        return table_of("rollouts", columns, **given), self._pits(
            sampled, explored, step_counts, pits, begin, is_correct
        )

    def _pits(
        self, sampled: pa.Table, explored: Any, step_counts: Any, pits: Any, begin: Any, is_correct: Any
    ) -> pa.Table:
        firsts = np.cumsum(step_counts * self.size.k) - step_counts * self.size.k
        passes = np.add.reduceat(
            is_correct.astype(np.int32),
            np.concatenate(
                [np.arange(f, f + n * self.size.k, self.size.k) for f, n in zip(firsts, step_counts, strict=True)]
            ),
        )
        offsets = pa.array(np.concatenate([[0], np.cumsum(step_counts)]), pa.int32())
        rows = sampled.take(pa.array(explored))
        found = pits <= step_counts
        columns = {
            "rationale_id": rows["rationale_id"].combine_chunks(),
            "problem_id": rows["problem_id"].combine_chunks(),
            "first_pit_step": pa.array(pits, pa.int32(), mask=~found),
            "step_count": pa.array(step_counts, pa.int32()),
            "pass_counts": pa.ListArray.from_arrays(offsets, pa.array(passes, pa.int32())),
            "draw_counts": pa.ListArray.from_arrays(offsets, pa.array(np.full(len(passes), self.size.k), pa.int32())),
        }
        return table_of("first_pits", columns, is_confirmed=False)

    def _pairs(self, number: int, kind: str, sampled: pa.Table, explored: Any, pits: pa.Table) -> pa.Table:
        rows = sampled.take(pa.array(explored))
        ids, texts = rows["rationale_id"].combine_chunks(), rows["text"].combine_chunks()
        is_kept = (
            np.ones(len(rows), bool)
            if kind == "outcome"
            else pits["first_pit_step"].is_valid().to_numpy(zero_copy_only=False)
        )
        columns = {
            "pair_id": pc.binary_join_element_wise(f"{kind}/", ids, f"#{number}", ""),
            "problem_id": rows["problem_id"].combine_chunks(),
            "prompt": texts,
            "chosen": texts,
            "rejected": texts,
            "chosen_rationale_id": ids,
            "rejected_rationale_id": ids,
            "is_kept": pa.array(is_kept),
            "drop_reason": pa.array(np.where(is_kept, None, "no_pit"), pa.string()),
        }
        if kind == "granular":
            columns["pit_step"] = pits["first_pit_step"].combine_chunks()
        return table_of("pairs", columns, kind=kind, prefix="")

    def _evaluate(self, number: int, models: list[str], accuracy: float) -> None:
        tables = []
        for model in models:
            for split in ("dev", "test"):
                ids = self._problem_ids[split]
                is_correct = pa.array(self._random.random(len(ids)) < accuracy)
                columns = {"problem_id": ids, "is_correct_strict": is_correct, "is_correct_flexible": is_correct}
                given = {
                    "model_id": model,
                    "benchmark": "gsm8k",
                    "benchmark_version": "v",
                    "split": split,
                    "answer": "42",
                }
                text = "So 40 + 2 = 42.\nThe answer is 42"
                tables.append(
                    table_of(
                        "evaluations",
                        columns,
                        **given,
                        text=text,
                        grade_reason="equal_number",
                        finish_reason="stop",
                        token_count=12,
                    )
                )
        self._stage(number, "evaluate", {"evaluations": pa.concat_tables(tables)}, 256, notes={"models": models})
