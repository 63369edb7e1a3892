"""The experiment that is disturbed, and what must come out the same: every row of every table, once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from selfexplore_tasks.store.catalogue import connect
from selfexplore_tasks.store.experiments import Experiment, open_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.schemas import TABLES

# What may differ between two runs with the same result: times, and what was expected of them.
TIMES = {"rounds": ("seconds", "estimated_seconds", "estimated_tokens")}


@dataclass(frozen=True)
class Subject:
    """An experiment: its name, its recipe (a name or a file), and the fields that differ from it."""

    slug: str
    recipe: str
    overrides: dict[str, object] = field(default_factory=dict)

    def open(self, store: Store) -> Experiment:
        return open_experiment(store, self.slug, self.recipe, self.overrides)


# The tiny recipe made small enough for a hundred starts: easy problems, few of them, short trainings, small chunks.
TINY = Subject(
    "faults",
    "arithmetic-tiny",
    {
        "problems.train": {
            **{"kind": "arithmetic", "count": 340, "min_steps": 1, "max_steps": 2, "max_value": 9},
            **{"start_range": [2, 4], "term_range": [1, 2], "factor_range": [2, 2], "divisor_range": [2, 2]},
        },
        **{"problems.train_count": 280, "problems.dev_count": 30, "problems.test_count": 30},
        **{"problems.rationale_count": 180, "max_rounds": 50, "seed": 1, "engine.kind": "transformers"},
        **{"engine.threads": 1, "sft.max_steps": 120, "rft.max_steps": 40, "dpo.max_steps": 6, "dpo.batch_size": 8},
        **{"dpo.micro_batch_size": 8, "sample.n": 4, "sample.temperature": 1.0, "sample.chunk_size": 10},
        **{"sample.problems_per_round": 60, "explore.chunk_size": 5, "evaluate.chunk_size": 15},
        "gate.max_regression": None,
    },
)


def compare(one: Store, other: Store, slug: str, rounds: int) -> list[str]:
    """Say what differs between two stores' tables up to a round; nothing where they hold the same rows once each."""
    differences = []
    for table in TABLES:
        ours, theirs = (_rows(store, slug, table, rounds) for store in (one, other))
        lost, added = theirs - ours, ours - theirs
        if lost or added:
            differences.append(f"{table}: {lost.total()} rows lost, {added.total()} added or doubled")
    return differences


def _rows(store: Store, slug: str, table: str, rounds: int) -> Counter[str]:
    connection = connect(store, [slug])
    try:
        rows: list[dict[str, Any]] = (
            connection.sql(f"select * from {table} where round <= {rounds}").to_arrow_table().to_pylist()
        )
    finally:
        connection.close()
    left_out = TIMES.get(table, ())
    kept = [{name: value for name, value in row.items() if name not in left_out} for row in rows]
    return Counter(json.dumps(row, sort_keys=True, default=str) for row in kept)
