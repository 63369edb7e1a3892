"""Rounds whose stages before `gate` are written by hand: who solves what is chosen, what follows from it is real."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.catalogue import connect
from selfexplore_tasks.store.experiments import load_experiment, open_experiment
from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, write_manifest

RECIPE = """
name: hand
description: Hand-made answers.
max_rounds: 4
problems:
  train: {kind: arithmetic, count: 30}
  dev_count: 5
  test_count: 5
  rationale_count: 10
  benchmarks: [{name: other, source: {kind: arithmetic, count: 40, max_value: 500}, dev_count: 10, test_count: 10}]
model: {scratch: {context_length: 1024}}
sft: {}
engine: {kind: transformers, threads: 1}
evaluate: {max_new_tokens: 16}
gate: {spending: none}
"""
SLUG, COUNT = "hand", 40
DEV, TEST, OTHER = ("arithmetic", "dev"), ("arithmetic", "test"), ("other", "dev")


class HandRounds:
    """An experiment of which every stage before `gate` is written by hand."""

    def __init__(self, store: Store) -> None:
        self.store = store
        rows = [
            self._problem(source, split, i)
            for source in ("arithmetic", "other")
            for split in ("dev", "test")
            for i in range(COUNT)
        ]
        self.stage(0, "prepare", {"problems": rows}, {"train_with_rationale": 10})
        self.stage(0, "sft", notes={"model_id": "0/sft"})

    @classmethod
    def begin(cls, store: Store) -> HandRounds:
        """Make the experiment and finish round 0."""
        recipe = store.root.parent / f"{SLUG}.yaml"
        recipe.write_text(RECIPE, encoding="utf-8")
        open_experiment(store, SLUG, str(recipe))
        made = cls(store)
        made.answers("0/sft", {})
        made.finish(0)
        return made

    def answers(self, model_id: str, right: dict[tuple[str, str], int]) -> None:
        """Of each benchmark and split the first so many problems are right (default: half)."""
        self.store.model_dir(SLUG, model_id).mkdir(parents=True, exist_ok=True)
        rows = [
            self._answer(model_id, source, split, i, is_right=i < right.get((source, split), COUNT // 2))
            for source, split in (DEV, TEST, OTHER)
            for i in range(COUNT)
        ]
        self.stage(int(model_id[0]), "evaluate", {"evaluations": rows}, {"models": [model_id]})

    def stage(
        self, number: int, stage: str, rows: dict[str, Sequence[dict[str, Any]]] | None = None, notes: Any = None
    ) -> None:
        context = StageContext(self.store, load_experiment(self.store, SLUG), number, stage)
        parts = {table: [context.write_rows(table, content).name] for table, content in (rows or {}).items()}
        now = "2026-01-01T00:00:00+00:00"
        counts = {"dpo": {"pairs": 9, "too_long": 0}, "prepare": {"train": 20, "dev": 80, "test": 80}}.get(stage, {})
        write_manifest(
            self.store, Manifest(SLUG, number, stage, "h", 0, now, now, 1.0, 0, counts, parts, dict(notes or {}))
        )

    def change_recipe(self, **sections: dict[str, Any]) -> None:
        """Give the experiment other settings, as if it had been made with them."""
        path = self.store.experiment_file(SLUG)
        content = json.loads(path.read_text(encoding="utf-8"))
        for name, fields in sections.items():
            content["recipe"][name].update(fields)
        write_json(path, content)

    def round(self, number: int, right: dict[tuple[str, str], int]) -> None:
        """Everything of a round up to the evaluation of its policy."""
        for stage in stages_of(number)[: stages_of(number).index("evaluate")]:
            model = {"rft": f"{number}/rft", "dpo": f"{number}/policy"}.get(stage, "0/sft")
            self.stage(number, stage, notes={"model_id": model})
        self.answers(f"{number}/policy", right)

    def finish(self, number: int) -> dict[str, Any]:
        """Run the real stages `gate` and `summarize`; return the round's row."""
        for stage in ("gate", "summarize"):
            run_stage(self.store, SLUG, stage, round_number=number)
        return self.rows(f"select * from rounds where round = {number}")[0]

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query over the experiment's views."""
        connection = connect(self.store, [SLUG])
        try:
            found: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
            return found
        finally:
            connection.close()

    def _problem(self, source: str, split: str, number: int) -> dict[str, Any]:
        return {
            **{"problem_id": f"{source}-{split}-{number:02d}", "source": source, "split": split},
            **{"question": f"{source} {split} {number}?", "gold_answer": "3", "gold_rationale": None},
        }

    def _answer(self, model_id: str, source: str, split: str, number: int, *, is_right: bool) -> dict[str, Any]:
        return {
            **{"model_id": model_id, "benchmark": source, "benchmark_version": "v", "split": split},
            **{"problem_id": f"{source}-{split}-{number:02d}", "text": "The answer is 3", "answer": "3"},
            **{"is_correct_strict": is_right, "is_correct_flexible": is_right, "grade_reason": "equal_number"},
            **{"is_correct_second": None, "finish_reason": "stop", "token_count": 5},
        }
