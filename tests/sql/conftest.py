"""A store of hand-made rows: parts with a manifest each, as a stage would leave them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from selfexplore_tasks.store.catalogue import connect, run_checks
from selfexplore_tasks.store.experiments import Experiment, open_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, write_manifest
from selfexplore_tasks.store.parts import part_name, to_table, write_part

if TYPE_CHECKING:
    import duckdb

RECIPE = """
name: hand
description: Hand-made rows.
problems: {train: {kind: arithmetic, count: 30}, dev_count: 5, test_count: 5, rationale_count: 10}
model: {scratch: {}}
sft: {}
sample: {n: 2, max_new_tokens: 100}
rft: {max_per_problem: 2}
explore: {k: 6, max_new_tokens: 100}
evaluate: {max_new_tokens: 100}
engine: {kind: transformers}
"""
Row = dict[str, Any]

GRADED: Row = {"answer": "3", "is_correct_flexible": True, "grade_reason": "equal_number", "is_correct_second": None}
DEFAULTS: dict[str, Row] = {
    "problems": {
        "source": "hand",
        "split": "train",
        "question": "How many?",
        "gold_answer": "3",
        "gold_rationale": None,
    },
    "rationales": {
        "model_id": "1/rft",
        "sample_index": 0,
        "text": "1 + 2 = 3\nThe answer is 3",
        **GRADED,
        "verdict": "correct",
        "is_correct_strict": True,
        "finish_reason": "stop",
        "token_count": 9,
        "logprob_mean": -0.5,
        "seed": 1,
    },
    "rft_examples": {
        "origin": "sampled",
        "text": "1 + 2 = 3\nThe answer is 3",
        "equation_chain": "1+2=3",
        "is_kept": True,
        "drop_reason": None,
    },
    "rollouts": {
        "problem_id": "p",
        "model_id": "1/rft",
        **GRADED,
        "is_correct": True,
        "finish_reason": "stop",
        "token_count": 5,
    },
    "pairs": {
        "problem_id": "p",
        "kind": "outcome",
        "pit_step": None,
        "prompt": "How many?\n",
        "prefix": "",
        "chosen_rationale_id": None,
        "chosen_rollout_id": None,
        "edit_distance": 4,
        "is_kept": True,
        "drop_reason": None,
    },
    "evaluations": {
        "benchmark": "hand",
        "benchmark_version": "v",
        "text": "The answer is 3",
        **GRADED,
        "is_correct_strict": True,
        "finish_reason": "stop",
        "token_count": 5,
    },
    "scores": {
        "benchmark": "hand",
        "split": "dev",
        "accuracy": 0.5,
        "accuracy_low": 0.4,
        "accuracy_high": 0.6,
        "accuracy_flexible": 0.5,
        "problem_count": 10,
        "promoted": False,
    },
    "rounds": {
        "parent": "0/sft",
        "candidate": "1/policy",
        "promoted": True,
        "champion": "1/policy",
        "decision": "promoted",
        "decision_reason": "better",
        "gain": 0.1,
        "gain_low": 0.02,
        "gain_high": 0.18,
        "p_value": 0.01,
        "alpha_spent": 0.05,
        "test_gain": 0.08,
        "gain_gap": 0.02,
        "counts": [],
        "tokens": [],
        "seconds": [],
        "estimated_seconds": [],
        "estimated_tokens": [],
        "alarms": [],
        "stop_reason": None,
    },
}


class HandStore:
    """Rows of experiment ``hand``; ``put`` fills in every column that a test does not care about."""

    def __init__(self, store: Store, experiment: Experiment) -> None:
        self.store, self.experiment = store, experiment
        self._number = 0

    def put(self, table: str, *rows: Row, round_number: int = 1) -> None:
        """Commit one part of ``table`` with a manifest of its own."""
        self._number += 1
        stage = f"hand{self._number}"
        path = self.store.table_dir(table, "hand", round_number) / part_name(stage, 0)
        content: pa.Table = to_table(table, [{**DEFAULTS.get(table, {}), **row} for row in rows])
        write_part(path, content, recipe_hash=self.experiment.recipe_hash, seconds=0.0)
        self.stage(stage, round_number=round_number, parts={table: [path.name]})

    def stage(self, stage: str, *, round_number: int = 1, **content: Any) -> None:
        """Commit a stage's manifest."""
        manifest = Manifest(
            experiment="hand",
            round=round_number,
            stage=stage,
            recipe_hash=self.experiment.recipe_hash,
            seed=0,
            started_at="2026-01-01T00:00:00",
            finished_at="2026-01-01T00:00:01",
            seconds=1.0,
            **content,
        )
        write_manifest(self.store, manifest)

    def problem(self, problem_id: str, split: str = "train", **columns: Any) -> None:
        self.put("problems", {"problem_id": problem_id, "split": split, **columns}, round_number=0)

    def rationale(self, rationale_id: str, problem_id: str = "p", **columns: Any) -> None:
        self.put("rationales", {"rationale_id": rationale_id, "problem_id": problem_id, **columns})

    def wrong_rationale(self, rationale_id: str, problem_id: str = "p", **columns: Any) -> None:
        wrong = {"verdict": "wrong", "is_correct_strict": False, "is_correct_flexible": False, "answer": "4"}
        self.rationale(rationale_id, problem_id, **{**wrong, **columns})

    def outcome_pair(self, rejected_id: str, text: str, *, chosen: str, problem_id: str = "p") -> None:
        """A kept outcome pair: what `explore` and the views start from."""
        row = {
            "pair_id": f"outcome/{rejected_id}",
            "problem_id": problem_id,
            "chosen": chosen,
            "rejected": text,
            "chosen_rationale_id": f"right-for-{rejected_id}",
            "rejected_rationale_id": rejected_id,
        }
        self.put("pairs", row)

    def rollouts(self, rationale_id: str, steps: list[str], draws: dict[int, list[tuple[str, bool]]]) -> None:
        """Rollouts after step 1, 2, ... of a rationale: ``draws[step]`` lists text and whether it is correct."""
        rows = [
            {
                "rollout_id": f"{rationale_id}/s{step:02d}/{index:02d}",
                "rationale_id": rationale_id,
                "step_index": step,
                "step_count": len(steps),
                "rollout_index": index,
                "prefix": "".join(steps[:step]),
                "text": text,
                "is_correct": is_correct,
            }
            for step, drawn in draws.items()
            for index, (text, is_correct) in enumerate(drawn)
        ]
        self.put("rollouts", *rows)

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = connect(self.store, ["hand"])
        try:
            yield connection
        finally:
            connection.close()

    def rows(self, sql: str) -> list[Row]:
        with self.connection() as connection:
            found: list[Row] = connection.sql(sql).to_arrow_table().to_pylist()
            return found

    def check(self, stage: str, round_number: int = 1) -> None:
        """Run the stage's checks; raises CheckFailed."""
        with self.connection() as connection:
            run_checks(connection, stage, slug="hand", round_number=round_number)


@pytest.fixture
def hand(tmp_path: Path) -> HandStore:
    """An experiment without a row, whose recipe says n = 2, k = 6 and two RFT rationales a problem."""
    recipe = tmp_path / "hand.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    store = Store(tmp_path / "home")
    return HandStore(store, open_experiment(store, "hand", str(recipe)))
