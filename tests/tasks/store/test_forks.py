"""Forks: the same rows under a new name, files shared and yet independent, and nothing to see of half a fork."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.report import query_rows
from selfexplore_tasks.stages.redo import redo_stage
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.champions import champion, champion_history, set_champion
from selfexplore_tasks.store.experiments import (
    ForkPoint,
    delete_experiment,
    experiment_names,
    last_round,
    load_experiment,
    open_experiment,
)
from selfexplore_tasks.store.forks import fork_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.schemas import TABLES
from selfexplore_tasks.transfer.exports import export_pairs

# Counts what changes the file system below the store, and dies like a killed process at the given count.
KILLED_FORK = """
import os, sys
from pathlib import Path
from selfexplore_tasks.store.forks import fork_experiment
from selfexplore_tasks.store.home import Store

root, limit, seen = sys.argv[1], int(sys.argv[2]), 0

def die(event, arguments):
    global seen
    if event in ("os.link", "os.rename", "os.mkdir", "os.symlink", "os.remove"):
        seen += 1
        if seen > limit:
            os._exit(9)

sys.addaudithook(die)
fork_experiment(Store(Path(root)), "mini", 1, "fork")
os.write(1, str(seen).encode())
os._exit(0)
"""


@pytest.fixture
def store(finished_store: Store, tmp_path: Path) -> Store:
    """A copy of the finished store."""
    shutil.copytree(finished_store.root, tmp_path / "store", symlinks=True)
    return Store(tmp_path / "store")


def rows(store: Store, slug: str, table: str, up_to: int = 1) -> list[dict[str, Any]]:
    return query_rows(store, [slug], f"select * exclude (experiment) from {table} where round <= {up_to} order by all")


def files(store: Store, slug: str) -> dict[str, int]:
    """Inodes of an experiment's files, by path without its name."""
    folders = [path for path in store.experiment_dirs(slug) if path.is_dir()]
    folders = [path for path in folders if path.parent.name not in ("manifests", "reports")]
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name != "README.md"]
    return {str(path.relative_to(store.root)).replace(slug, "*"): path.stat().st_ino for path in found}


@pytest.mark.parametrize("round_number", [0, 1])
def test_a_fork_has_the_same_rows_and_shares_the_files(store: Store, round_number: int) -> None:
    fork = fork_experiment(store, "mini", round_number, "fork")
    origin = load_experiment(store, "mini")
    assert fork == load_experiment(store, "fork")
    assert (fork.recipe, fork.recipe_hash) == (origin.recipe, origin.recipe_hash)
    assert (fork.forked_from, origin.forked_from) == (ForkPoint("mini", round_number), None)
    assert last_round(store, "fork") == round_number
    for table in TABLES:
        assert rows(store, "fork", table) == rows(store, "mini", table, round_number), table
    kept = tuple(f"round={number:03d}" for number in range(round_number + 1))
    origins = {path: inode for path, inode in files(store, "mini").items() if any(name in path for name in kept)}
    assert files(store, "fork") == origins
    assert champion(store, "fork").model_id in store.champion_link("fork").joinpath("README.md").read_text()


def test_a_fork_outlives_its_origin_and_goes_on_like_it(store: Store) -> None:
    fork_experiment(store, "mini", 0, "fork")
    sampled = rows(store, "mini", "rationales")
    delete_experiment(store, "mini")
    assert "mini" not in (store.manifest_file("fork", 0, "prepare")).read_text(encoding="utf-8").split("notes")[0]
    run_stage(store, "fork", "sample", round_number=1)
    again = rows(store, "fork", "rationales")
    assert again == [row for row in sampled if row["model_id"] == "0/sft"]
    assert again


def test_choices_by_hand_go_along_and_then_part(store: Store) -> None:
    set_champion(store, "mini", "1/policy", who="ann", why="first")
    card = store.model_dir("mini", "1/policy") / "README.md"
    before = card.read_text(encoding="utf-8")
    fork_experiment(store, "mini", 1, "fork")
    assert champion_history(store, "fork") == champion_history(store, "mini")
    assert card.read_text(encoding="utf-8") == before
    set_champion(store, "fork", "0/sft", who="bob", why="second")
    assert (champion(store, "mini").model_id, champion(store, "fork").model_id) == ("1/policy", "0/sft")
    assert fork_experiment(store, "mini", 0, "early").forked_from == ForkPoint("mini", 0)
    assert champion(store, "early").model_id == "0/sft"


def test_a_fork_with_another_recipe_goes_another_way(store: Store) -> None:
    fork = fork_experiment(store, "mini", 0, "fork", {"sample.n": 2, "dpo.beta": 0.2})
    origin = load_experiment(store, "mini")
    assert (fork.recipe.sample.n, fork.recipe.dpo.beta, origin.recipe.sample.n) == (2, 0.2, 4)
    assert fork.recipe_hash != origin.recipe_hash
    assert open_experiment(store, "fork", None, {"sample.n": 2}) == fork
    run_stage(store, "fork", "sample", round_number=1)
    counts = query_rows(store, ["fork"], "select count(*) as n from rationales group by problem_id")
    assert {row["n"] for row in counts} == {2}
    assert (fork.at(0), fork.at(1)) == (replace(fork, recipe=origin.recipe, recipe_hash=origin.recipe_hash), fork)
    assert load_experiment(store, "fork") == fork
    hashes = {(row["round"], row["recipe_hash"]) for row in query_rows(store, ["fork"], "from stages")}
    assert hashes == {(0, origin.recipe_hash), (1, fork.recipe_hash)}


def test_what_was_made_before_a_fork_keeps_its_recipe(store: Store, tmp_path: Path) -> None:
    changes = {"pairs.rejected": "remainder", "explore.k": 9, "steps.max_steps": 1, "dpo.beta": 0.33}
    fork_experiment(store, "mini", 1, "fork", changes)
    origin = load_experiment(store, "mini")
    card = store.champion_link("fork").joinpath("README.md").read_text(encoding="utf-8")
    assert origin.recipe_hash in card and "0.33" not in card
    export_pairs(store, "fork", kind="granular", form="hub-folder", output=tmp_path / "pairs", round_number=1)
    data_card = (tmp_path / "pairs" / "README.md").read_text(encoding="utf-8")
    assert origin.recipe_hash in data_card and "with all that follows" not in data_card
    assert query_rows(store, ["fork"], "select distinct k from pit_accuracy") in ([], [{"k": None}])
    with pytest.raises(UserError, match="which the fork changed: fork from round 0"):
        redo_stage(store, "fork", 1, "explore")
    again = fork_experiment(store, "fork", 0, "again", {"dpo.beta": 0.5})
    assert [one.until for one in again.earlier] == [0]
    assert again.at(0).recipe == origin.recipe


CHANGED = {
    "evaluate.max_new_tokens": (20, "cannot change evaluate.max_new_tokens"),
    "report_to": (["wandb"], "wandb"),
    "problems.dev_count": (7, "cannot change problems.dev_count: its rounds up to 1 rest on it"),
    "sft.epochs": (3, "cannot change sft.epochs"),
    "dpo.beta": (-1, "dpo.beta"),
    "dpo.bta": (1, "bta"),
}


@pytest.mark.parametrize("field", CHANGED)
def test_a_fork_refuses_what_its_rounds_rest_on(finished_store: Store, field: str) -> None:
    value, told = CHANGED[field]
    with pytest.raises(UserError, match=told):
        fork_experiment(finished_store, "mini", 1, "fork", {field: value})
    assert experiment_names(finished_store) == ["mini"]


REFUSED = {("mini", 2, "fork"): "Round 2 of 'mini' is not finished", ("mini", 1, "mini"): "exists already"}
REFUSED |= {("other", 0, "fork"): "'other' does not exist", ("mini", 1, "../x"): "cannot name an experiment"}


@pytest.mark.parametrize("call", REFUSED, ids=str)
def test_what_cannot_be_forked_is_refused(finished_store: Store, call: tuple[str, int, str]) -> None:
    with pytest.raises(UserError, match=REFUSED[call]):
        fork_experiment(finished_store, *call)
    assert experiment_names(finished_store) == ["mini"]


def killed_fork(store: Store, limit: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KILLED_FORK, str(store.root), str(limit)], capture_output=True, text=True
    )


def test_a_fork_that_is_killed_is_not_seen_and_can_be_made_again(store: Store, round_recipe: Path) -> None:
    whole = killed_fork(store, 10**6)
    assert whole.returncode == 0, whole.stderr
    delete_experiment(store, "fork")
    for percent in (5, 40, 70, 85):
        assert killed_fork(store, int(whole.stdout) * percent // 100).returncode == 9
        assert experiment_names(store) == ["mini"], percent
        with pytest.raises(UserError, match="finish it with `selfexplore experiments fork mini --round 1 --as fork`"):
            open_experiment(store, "fork", str(round_recipe))
    fork_experiment(store, "mini", 1, "fork")
    for table in ("problems", "rationales", "rounds"):
        assert rows(store, "fork", table) == rows(store, "mini", table)
    assert open_experiment(store, "fork", None).forked_from == ForkPoint("mini", 1)
    assert json.loads(store.experiment_file("fork").read_text())["forked_from"] == {"experiment": "mini", "round": 1}
