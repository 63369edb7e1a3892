"""A store with two small experiments, a secret in one of them, and a folder beside the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.console import run
from selfexplore_tasks.store.experiments import open_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, write_manifest
from selfexplore_tasks.store.parts import part_name, to_table, write_part

RECIPE = """
name: small
description: Two rows.
problems: {train: {kind: arithmetic, count: 30}, dev_count: 5, test_count: 5, rationale_count: 10}
model: {scratch: {}}
sft: {}
sample: {n: 2, max_new_tokens: 100}
explore: {k: 6, max_new_tokens: 100}
evaluate: {max_new_tokens: 100}
engine: {kind: transformers}
"""
SECRET = "canary-6f1e"
"""Text that is in files outside of the experiment asked for, and that no answer may hold."""
HOSTILE_TEXTS = ("=HYPERLINK(1)", "+1", "@x", "-1", "<script>alert(1)</script>", 'plain, with "quotes"')


@dataclass(frozen=True)
class Arena:
    """``mine`` may be asked for; ``other``, the unfinished part and the folder ``outside`` may not be seen."""

    store: Store
    outside: Path
    part: Path
    unfinished: Path
    other_part: Path

    def fill(self, query: str) -> str:
        """A query with the places of this arena filled in."""
        places = {
            "root": self.store.root,
            "outside": self.outside,
            "part": self.part,
            "unfinished": self.unfinished,
            "other_part": self.other_part,
        }
        for name, path in places.items():
            query = query.replace(f"<{name}>", str(path))
        return query

    def fingerprints(self) -> dict[str, str]:
        """What every file holds, inside and outside of the store."""
        files = [path for folder in (self.store.root, self.outside) for path in folder.rglob("*") if path.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    """Read only."""
    folder = tmp_path_factory.mktemp("arena")
    store, outside = Store(folder / "store"), folder / "outside"
    outside.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    for name in ("canary.txt", "canary.csv", "canary.sql"):
        (outside / name).write_text(f"select '{SECRET}'\n", encoding="utf-8")
    (outside / "canary.json").write_text(f'{{"a": "{SECRET}"}}\n', encoding="utf-8")
    part = _experiment(store, folder, "mine", HOSTILE_TEXTS)
    other_part = _experiment(store, folder, "other", (SECRET,))
    unfinished = part.with_name("part-sample-00009.parquet")
    write_part(unfinished, to_table("problems", [_problem(SECRET)]), recipe_hash="h", seconds=0)
    (outside / "canary.parquet").write_bytes(other_part.read_bytes())
    return Arena(store, outside, part, unfinished, other_part)


@pytest.fixture(autouse=True, scope="session")
def query_server() -> Iterator[None]:
    """Lets go of the process that runs queries when the tests are over."""
    yield
    run.stop()


def _problem(question: str) -> dict[str, Any]:
    return {
        "problem_id": f"p-{question}",
        "source": "hand",
        "split": "train",
        "question": question,
        "gold_answer": "3",
        "gold_rationale": None,
    }


def _experiment(store: Store, folder: Path, slug: str, questions: tuple[str, ...]) -> Path:
    experiment = open_experiment(store, slug, str(folder / "recipe.yaml"))
    path = store.table_dir("problems", slug, 0) / part_name("prepare", 0)
    write_part(path, to_table("problems", [_problem(one) for one in questions]), recipe_hash="h", seconds=0)
    manifest = Manifest(
        experiment=slug,
        round=0,
        stage="prepare",
        recipe_hash=experiment.recipe_hash,
        seed=0,
        started_at="2026-01-01T00:00:00",
        finished_at="2026-01-01T00:00:01",
        seconds=1.0,
        parts={"problems": [path.name]},
        notes={"slug": SECRET if slug == "other" else ""},
    )
    write_manifest(store, manifest)
    return path
